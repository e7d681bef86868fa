"""Writers: which processes write to a folder now, and what dead ones left behind."""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import shutil
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Writer:
    """A process's own folder for unfinished files, locked for as long as the process lives.

    The system lifts the lock however the process ends, so that what is unlocked is a dead writer's.
    """

    def __init__(self, root: Path) -> None:
        """Make the folder; the caller holds `locked(root)`."""
        self.folder = root / "writers" / secrets.token_hex(8)
        self.folder.parent.mkdir(mode=0o700, exist_ok=True)
        self.folder.mkdir(mode=0o700)
        self._fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._pid = os.getpid()
        self._serial = itertools.count()
        self.close = weakref.finalize(self, _release, self._fd, self.folder, self._pid)

    def is_current(self) -> bool:
        """Tell whether the folder is still there, and this still the process that made it."""
        return self._pid == os.getpid() and self.folder.is_dir()

    def unfinished(self) -> Path:
        """A path that nothing else uses."""
        return self.folder / str(next(self._serial))


def _release(fd: int, folder: Path, pid: int) -> None:
    if pid == os.getpid():  # a forked child has a copy of the finalizer, but not the folder
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep every other process and thread that wants to repair `root` waiting."""
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def dead_writers(root: Path) -> list[Path]:
    """Folders of writers that no longer live; the caller holds `locked(root)`."""
    folder = root / "writers"
    candidates = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in candidates if path.is_dir() and not _is_locked(path)]


def sweep(folders: list[Path]) -> int:
    """Remove dead writers' folders; returns how many unfinished files were in them."""
    unfinished = 0
    for folder in folders:
        unfinished += sum(1 for _ in folder.iterdir())
        shutil.rmtree(folder, ignore_errors=True)
    return unfinished


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True  # its owner is closing it just now
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)
