"""DiskStore: entries as files of a folder, shared by threads and processes, bounded in bytes."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from visioncache.sizes import format_size, parse_size
from visioncache.stores.base import StoreError, name_of, scope_digest
from visioncache.stores.files import Files, write
from visioncache.stores.index import Index
from visioncache.stores.writers import Writer, dead_writers, locked, sweep

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from visioncache.keys import Key

_NOTE_SECONDS = 5.0
_MAX_NOTES = 1024
"""How often, or after how many uses, the index hears who was used."""
_BURIAL_EVERY = 64
"""Puts between two looks for processes that died."""


class Checked(NamedTuple):
    """What `check` found, and put right."""

    entries: int
    nbytes: int
    unindexed: int
    """Files that the index did not know."""
    missing: int
    """Rows of the index without a file, or with another size."""
    unfinished: int
    """Files that a process died over."""
    damaged: int
    """Files that could not be decoded, removed."""


class DiskStore:
    """Entries in a folder: one file each, written beside and renamed, so each is whole or absent.

    The folder is 0700 (when this makes it), files are 0600, their names are digests. Several
    processes and threads may use one folder at once, and may be killed at any moment: the next one
    to open it, or to put into it for a while, repairs the index. Nothing is synced to the medium:
    after a power cut a file may be damaged, which its checksum tells whoever decodes it.

    Local file systems only: the index (SQLite, WAL) and the locks want one machine.

    Args:
        path: the folder; made when it does not exist, along with its parents.
        max_bytes: bytes held at most, as a number or text ("20 GB"); the least recently used go.
            None for no bound.
        clock: seconds since the epoch, for recency.

    Raises:
        NotADirectoryError: the path is something else.
        ValueError: a bound that is not a size, or not positive.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: float | str | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"{self.path} is not a folder; a DiskStore wants one of its own")
        self._files = Files(self.path / "entries")
        self.max_bytes = None if max_bytes is None else parse_size(max_bytes)
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"max_bytes={max_bytes!r}: a bound is at least 1 byte (None: no bound)")
        self._clock = clock
        self._lock = threading.RLock()
        """Around the index; a `get` never waits for it."""
        self._notes = threading.Lock()
        """Around what a `get` notes; held for a moment only."""
        self._index: Index | None = None
        self._writer: Writer | None = None
        self._puts = 0
        self._used: dict[str, int] = {}
        self._noted_at = clock()
        with suppress(OSError):  # a folder that can't be made is reported when it is needed
            self._make_folder()

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy opens the folder for itself, in a worker process too.
        return partial(type(self), self.path, self.max_bytes, clock=self._clock), ()

    # The store ----------------------------------------------------------------------------------

    def get(self, key: Key) -> Any:
        """The bytes of an entry, or None; see `Store`."""
        name = name_of(key)
        try:
            data = self._files.load(name)
        except FileNotFoundError:
            if not self.path.is_dir():
                raise StoreError(f"{self.path} is gone: deleted, or it could not be made") from None
            return None
        except OSError as error:
            raise StoreError(error.errno, f"{name} can't be read: {error.strerror}") from None
        self._touch(name)
        return data

    def put(self, key: Key, data: bytes) -> None:
        """Store bytes, the least recently used making room first; see `Store`."""
        if self.max_bytes is not None and len(data) > self.max_bytes:
            raise StoreError(
                f"{format_size(len(data))} is more than the {format_size(self.max_bytes)} of {self.path}"
            )
        name = name_of(key)
        with self._faults():
            unfinished = self._unfinished(data)
            placed = False
            try:
                with self._changing() as index:
                    index.add(name, len(data), _ns(self._clock()))
                    self._cull(index, keep=name)
                    placed = True  # before it is true: an interrupt may strike in between
                    self._files.place(unfinished, name)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                if placed:
                    self._files.remove(name)
                raise

    def delete(self, key: Key) -> bool:
        """Remove an entry; see `Store`."""
        name = name_of(key)
        with self._faults(), self._changing() as index:
            found = self._files.remove(name)
            index.remove([name])
        return found

    def clear(self, scope: str | None = None) -> None:
        """Remove every entry, or those of a scope; files that are not entries stay."""
        ending = "" if scope is None else f"-{scope_digest(scope)}"
        with self._faults(), self._changing() as index:
            names = {name for name, _ in self._files.listing()} | set(index.rows())
            names = {name for name in names if name.endswith(ending)}
            for name in names:
                self._files.remove(name)
            index.remove(names)

    def __len__(self) -> int:
        with self._lock, self._faults():
            return self._opened().totals()[0]

    def volume(self) -> int:
        """Bytes that the entries hold."""
        with self._lock, self._faults():
            return self._opened().totals()[1]

    def close(self) -> None:
        """Note what was used, and let go of the folder; another call opens it again."""
        self._note_uses()
        with self._lock:
            self._forget()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    # Looking after it -----------------------------------------------------------------------------

    def check(self, decode: Callable[[Any], object] | None = None) -> Checked:
        """Make the index agree with the files, remove what died unfinished, and keep the bound.

        With `decode` (`visioncache.stores.decode`), also read every file and remove those that it
        finds damaged, by raising ValueError.
        """
        self._make_folder()
        with self._lock, self._faults(), locked(self.path):
            index = self._open(repair=False)
            dead = dead_writers(self.path)
            with index.transaction():
                damaged = self._remove_damaged(decode) if decode else 0
                unindexed, missing = self._reconcile(index)
                self._cull(index)
            entries, nbytes = index.totals()
            return Checked(entries, nbytes, unindexed, missing, sweep(dead), damaged)

    def cull(self) -> int:
        """Remove the least recently used until the bound is kept; returns how many went."""
        with self._faults(), self._changing() as index:
            return self._cull(index)

    def __repr__(self) -> str:
        bound = "" if self.max_bytes is None else f", max_bytes={format_size(self.max_bytes)!r}"
        return f"DiskStore({str(self.path)!r}{bound})"

    def _unfinished(self, data: bytes) -> Path:
        """A file beside the entries with these bytes in it."""
        with self._lock:
            index = self._opened()
            self._puts += 1
            if self._puts % _BURIAL_EVERY == 0:
                with locked(self.path):
                    self._bury(index)
            assert self._writer is not None  # noqa: S101  # `_opened` made it
            path = self._writer.unfinished()
        write(path, data)
        return path

    def _remove_damaged(self, decode: Callable[[Any], object]) -> int:
        damaged = 0
        for name, _ in list(self._files.listing()):
            try:
                decode(self._files.load(name))
            except ValueError:
                damaged += self._files.remove(name)
        return damaged

    # The index, with the lock held ------------------------------------------------------------------

    def _make_folder(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)

    def _opened(self) -> Index:
        """The index; it and this process's writer are opened again when either was lost."""
        index, writer = self._index, self._writer
        if index is None or writer is None or not (index.is_current() and writer.is_current()):
            self._make_folder()
            with locked(self.path):
                index = self._open()
                self._bury(index)
        return index

    def _open(self, *, repair: bool = True) -> Index:
        """Open what is not open; the folder is locked."""
        if self._writer is None or not self._writer.is_current():
            self._writer = Writer(self.path)
        if self._index is None or not self._index.is_current():
            self._forget()
            self._index, is_new = _open_index(self.path / "index.sqlite3")
            if is_new and repair:
                self._repair(self._index, [])
        return self._index

    def _forget(self) -> None:
        if self._index is not None:
            self._index.close()
            self._index = None

    def _bury(self, index: Index) -> None:
        """Put right what dead processes left; the folder is locked."""
        dead = dead_writers(self.path)
        if dead:
            self._repair(index, dead)

    def _repair(self, index: Index, dead: list[Path]) -> None:
        with index.transaction():
            self._reconcile(index)
            self._cull(index)
        sweep(dead)

    def _reconcile(self, index: Index) -> tuple[int, int]:
        """Make the rows agree with the files; returns (files unknown, rows wrong) before."""
        rows = index.rows()
        files = dict(self._files.listing())
        for name, status in files.items():
            if rows.get(name) != status.st_size:
                index.add(name, status.st_size, status.st_mtime_ns)
        index.remove(rows.keys() - files.keys())
        index.count()
        wrong = sum(name not in files or files[name].st_size != size for name, size in rows.items())
        return len(files.keys() - rows.keys()), wrong

    def _cull(self, index: Index, keep: str = "") -> int:
        if self.max_bytes is None:
            return 0
        names = index.victims(self.max_bytes, keep)
        for name in names:
            self._files.remove(name)
        index.remove(names)
        return len(names)

    @contextmanager
    def _changing(self) -> Iterator[Index]:
        """A transaction on the index, with what was used noted in it first."""
        with self._lock:
            index = self._opened()
            with self._notes:
                used, self._used = self._used, {}
            with index.transaction():
                index.touch(used)
                yield index

    def _touch(self, name: str) -> None:
        """Note that an entry was used; the index hears of it with the next change, or in a while."""
        now = self._clock()
        with self._notes:
            self._used[name] = _ns(now)
            due = now - self._noted_at > _NOTE_SECONDS or len(self._used) >= _MAX_NOTES
            if due:
                self._noted_at = now
        if due:
            # Elsewhere, because the index may be busy, and this is a `get`.
            threading.Thread(target=self._note_uses, daemon=True).start()

    def _note_uses(self) -> None:
        # A folder that may only be read has no recency to keep.
        with suppress(StoreError), self._faults():
            if self._used:
                with self._changing():
                    pass

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Every fault of the disk or the index as a StoreError."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(error.errno, f"{self.path}: {error.strerror}") from error
        except sqlite3.Error as error:
            self._forget()  # a fresh connection finds out whether the index must be made again
            raise StoreError(f"{self.path}: the index failed: {error}") from error


def _open_index(path: Path) -> tuple[Index, bool]:
    """An index, and whether it is new: there was none, or a damaged one."""
    is_new = not path.exists()
    try:
        return Index(path), is_new
    except sqlite3.OperationalError:
        raise  # it is busy, can't be written, or the disk is full
    except sqlite3.DatabaseError:
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return Index(path), True


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
