"""Folder: entries as files, and the index that knows them; each is put right when the other was lost."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from visioncache.stores.files import Files
from visioncache.stores.index import Index
from visioncache.stores.writers import Writer, dead_writers, locked, sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BURIAL_EVERY = 64
"""Puts between two looks for processes that died."""


class Checked(NamedTuple):
    """Count what `check` found, and put right."""

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


class Folder:
    """A folder of entries with an index beside them; whoever calls holds a lock, but for its `files`.

    Args:
        path: the folder.
        max_bytes: bytes that its entries hold at most; None for no bound.
    """

    def __init__(self, path: Path, max_bytes: int | None) -> None:
        self._path, self.max_bytes = path, max_bytes
        self.files = Files(path / "entries")
        self._index: Index | None = None
        self._writer: Writer | None = None
        self._asked = 0

    def make(self) -> None:
        """Make the folder where there is none."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.mkdir(mode=0o700, exist_ok=True)

    def opened(self) -> Index:
        """Return the index; it and this process's writer are opened again when either was lost."""
        index, writer = self._index, self._writer
        if index is None or writer is None or not (index.is_current() and writer.is_current()):
            self.make()
            with locked(self._path):
                index = self._open()
                self._bury(index)
        return index

    def forget(self) -> None:
        """Let go of the index, so that it is opened anew."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def close(self) -> None:
        """Let go of the index and of what is unfinished."""
        self.forget()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def unfinished(self) -> Path:
        """Return a path beside the entries that nothing else uses."""
        index = self.opened()
        self._asked += 1
        if self._asked % _BURIAL_EVERY == 0:
            with locked(self._path):
                self._bury(index)
        assert self._writer is not None  # noqa: S101  # `opened` made it
        return self._writer.unfinished()

    def cull(self, index: Index, keep: str = "") -> int:
        """Remove the least recently used until the bound is kept; return how many went."""
        if self.max_bytes is None:
            return 0
        names = index.victims(self.max_bytes, keep)
        for name in names:
            self.files.remove(name)
        index.remove(names)
        return len(names)

    def check(self, decode: Callable[[Any], object] | None) -> Checked:
        """Make the index agree with the files; see `DiskStore.check`."""
        with locked(self._path):
            index = self._open(repair=False)
            dead = dead_writers(self._path)
            with index.transaction():
                damaged = self._remove_damaged(decode) if decode else 0
                unindexed, missing = self._reconcile(index)
                self.cull(index)
            entries, nbytes = index.totals()
            return Checked(entries, nbytes, unindexed, missing, sweep(dead), damaged)

    def _open(self, *, repair: bool = True) -> Index:
        """Open what is not open; the folder is locked."""
        if self._writer is None or not self._writer.is_current():
            self._writer = Writer(self._path)
        if self._index is None or not self._index.is_current():
            self.forget()
            self._index, is_new = _open_index(self._path / "index.sqlite3")
            if is_new and repair:
                self._repair(self._index, [])
        return self._index

    def _bury(self, index: Index) -> None:
        """Put right what dead processes left; the folder is locked."""
        dead = dead_writers(self._path)
        if dead:
            self._repair(index, dead)

    def _repair(self, index: Index, dead: list[Path]) -> None:
        with index.transaction():
            self._reconcile(index)
            self.cull(index)
        sweep(dead)

    def _reconcile(self, index: Index) -> tuple[int, int]:
        """Make the rows agree with the files; returns (files unknown, rows wrong) before."""
        rows = index.rows()
        files = dict(self.files.listing())
        for name, status in files.items():
            if rows.get(name) != status.st_size:
                index.add(name, status.st_size, status.st_mtime_ns)
        index.remove(rows.keys() - files.keys())
        index.count()
        wrong = sum(name not in files or files[name].st_size != size for name, size in rows.items())
        return len(files.keys() - rows.keys()), wrong

    def _remove_damaged(self, decode: Callable[[Any], object]) -> int:
        damaged = 0
        for name, _ in list(self.files.listing()):
            try:
                decode(self.files.load(name))
            except ValueError:
                damaged += self.files.remove(name)
        return damaged


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
