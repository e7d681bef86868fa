"""Files: the entries of a folder, each in a file of its own, found by name, read or mapped."""

from __future__ import annotations

import errno
import mmap
import os
import re
import stat
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIX = ".safetensors"
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_MAX_READ = 1 << 14
"""Files that are remembered to have been read."""
_MAX_MAPS = 16
"""Maps that are kept, because making one takes as long as copying a megabyte out of it."""
_MAX_BYTES = 5 << 29
"""Bytes of a file; no encoded value is larger, and what claims to be is not read."""

Stamp = tuple[int, ...]


class Files:
    """The files under one folder; any thread may call any method."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._read: set[Stamp] = set()
        self._maps: OrderedDict[str, _Mapped] = OrderedDict()

    def load(self, name: str) -> Any:
        """The bytes of an entry; OSError when it can't be read, FileNotFoundError when there is none.

        What has a `stamp` is read the first time, so that a failing disk is an error, and mapped
        from then on, which saves a copy. The latest few maps are kept.
        """
        location = self._location(name)
        kept = self._maps.get(name)
        if kept is not None and kept.stamp == _stamp(os.lstat(location)):
            return kept
        fd = os.open(location, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb", buffering=0) as file:  # noqa: PTH123  # it has a descriptor, not a path
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            stamp, size = _stamp(status), status.st_size
            if size > _MAX_BYTES:
                raise OSError(errno.EFBIG, "larger than any entry")
            if not size:
                return b""
            data: _Read | _Mapped
            if stamp in self._read:
                data = _Mapped(fd, size, prot=mmap.PROT_READ)
            else:
                data = _Read(size)
                _fill(data, file)
        data.stamp = stamp
        self._remember(name, data)
        return data

    def _remember(self, name: str, data: _Read | _Mapped) -> None:
        with self._lock:
            if isinstance(data, _Mapped):
                self._maps[name] = data
                if len(self._maps) > _MAX_MAPS:
                    self._maps.popitem(last=False)
            else:
                if len(self._read) >= _MAX_READ:
                    self._read.clear()
                self._read.add(data.stamp)

    def place(self, unfinished: Path, name: str) -> None:
        """Make a finished file an entry, in the place of the one of that name."""
        target = Path(self._location(name))
        with self._lock:
            self._maps.pop(name, None)
        try:
            unfinished.replace(target)
        except FileNotFoundError:
            for folder in (self.folder, target.parent):  # `parents=True` would make them as the umask says
                folder.mkdir(mode=0o700, exist_ok=True)
            unfinished.replace(target)

    def remove(self, name: str) -> bool:
        """Remove an entry and let go of its map, which would keep its bytes on the disk.

        Returns False when there is none; what is no entry's name is nobody's business here,
        wherever it comes from.
        """
        if not _NAME.fullmatch(name):
            return False
        with self._lock:
            self._maps.pop(name, None)
        try:
            os.unlink(self._location(name))  # noqa: PTH108  # it is text
        except FileNotFoundError:
            return False
        return True

    def listing(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every entry's name and status; what is not an entry is passed over."""
        for folder in _scan(self.folder):
            for file in _scan(folder.path) if folder.is_dir(follow_symlinks=False) else ():
                name = file.name.removesuffix(_SUFFIX)
                if name != file.name and _NAME.fullmatch(name) and file.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        yield name, file.stat(follow_symlinks=False)

    def _location(self, name: str) -> str:
        return f"{self.folder}/{name[:2]}/{name}{_SUFFIX}"


def write(path: Path, data: bytes) -> None:
    """A new file of these bytes, for its owner alone; or none, and OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:  # noqa: PTH123  # it has a descriptor
            view = memoryview(data).cast("B")
            while view:
                view = view[file.write(view) :]
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class _Read(bytearray):
    """Bytes of a file, and which state of it they are from."""

    stamp: Stamp


class _Mapped(mmap.mmap):
    """As `_Read`, mapped."""

    stamp: Stamp


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _fill(buffer: bytearray, file: Any) -> None:
    filled = 0
    with memoryview(buffer) as view:
        while filled < len(view):
            count = file.readinto(view[filled:])
            if not count:
                raise OSError(errno.EIO, "it ended early")
            filled += count


def _scan(folder: Any) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        yield from found
