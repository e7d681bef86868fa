"""DiskStore: entries as files of a folder, shared by threads and processes, bounded in bytes."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visioncache.sizes import format_size, parse_size
from visioncache.stores.base import StoreError, name_of, scope_digest
from visioncache.stores.files import write
from visioncache.stores.folder import Folder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from visioncache.keys import Key
    from visioncache.stores.folder import Checked
    from visioncache.stores.index import Index

_NOTE_SECONDS = 5.0
_MAX_NOTES = 1024
"""How often, or after how many uses, the index hears who was used."""


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
        bound = None if max_bytes is None else parse_size(max_bytes)
        if bound is not None and bound < 1:
            raise ValueError(f"max_bytes={max_bytes!r}: a bound is at least 1 byte (None: no bound)")
        self._folder = Folder(self.path, bound)
        self._files = self._folder.files
        self._clock = clock
        self._lock = threading.RLock()
        """Around the folder's index; a `get` never waits for it."""
        self._notes = threading.Lock()
        """Around what a `get` notes; held for a moment only."""
        self._used: dict[str, int] = {}
        self._noted_at = clock()
        with suppress(OSError):  # a folder that can't be made is reported when it is needed
            self._folder.make()

    @property
    def max_bytes(self) -> int | None:
        """Bytes held at most; None for no bound. A lower one is kept from the next put or `cull` on."""
        return self._folder.max_bytes

    @max_bytes.setter
    def max_bytes(self, bound: int | None) -> None:
        self._folder.max_bytes = bound

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
            with self._lock:
                unfinished = self._folder.unfinished()
            write(unfinished, data)
            placed = False
            try:
                with self._changing() as index:
                    index.add(name, len(data), _ns(self._clock()))
                    self._folder.cull(index, keep=name)
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
            return self._folder.opened().totals()[0]

    def volume(self) -> int:
        """Bytes that the entries hold."""
        with self._lock, self._faults():
            return self._folder.opened().totals()[1]

    def close(self) -> None:
        """Note what was used, and let go of the folder; another call opens it again."""
        self._note_uses()
        with self._lock:
            self._folder.close()

    # Looking after it -----------------------------------------------------------------------------

    def check(self, decode: Callable[[Any], object] | None = None) -> Checked:
        """Make the index agree with the files, remove what died unfinished, and keep the bound.

        With `decode` (`visioncache.stores.decode`), also read every file and remove those that it
        finds damaged, by raising ValueError.
        """
        self._folder.make()
        with self._lock, self._faults():
            return self._folder.check(decode)

    def cull(self) -> int:
        """Remove the least recently used until the bound is kept; returns how many went."""
        with self._faults(), self._changing() as index:
            return self._folder.cull(index)

    def __repr__(self) -> str:
        bound = "" if self.max_bytes is None else f", max_bytes={format_size(self.max_bytes)!r}"
        return f"DiskStore({str(self.path)!r}{bound})"

    @contextmanager
    def _changing(self) -> Iterator[Index]:
        """A transaction on the index, with what was used noted in it first."""
        with self._lock:
            index = self._folder.opened()
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
            self._folder.forget()  # a fresh connection finds out whether the index must be made again
            raise StoreError(f"{self.path}: the index failed: {error}") from error


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
