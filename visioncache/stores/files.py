"""Files: the entries of a folder, each in a file of its own, found by name."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIX = ".safetensors"
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")
_MAX_BYTES = 5 << 29
"""Bytes of a file; no encoded value is larger, and what claims to be is not read."""


class Files:
    """The files under one folder; any thread may call any method."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name: str) -> bytes:
        """The bytes of an entry, read into memory of their own, which nobody changes while they are checked.

        OSError when it can't be read, FileNotFoundError when there is none.
        """
        fd = os.open(self._location(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb", buffering=0) as file:  # noqa: PTH123  # it has a descriptor, not a path
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if status.st_size > _MAX_BYTES:
                raise OSError(errno.EFBIG, "larger than any entry")
            data = file.read()
            if len(data) < status.st_size:
                raise OSError(errno.EIO, "it ended early")
        return data

    def place(self, unfinished: Path, name: str) -> None:
        """Make a finished file an entry, in the place of the one of that name."""
        target = Path(self._location(name))
        try:
            unfinished.replace(target)
        except FileNotFoundError:
            for folder in (self.folder, target.parent):  # `parents=True` would make them as the umask says
                folder.mkdir(mode=0o700, exist_ok=True)
            unfinished.replace(target)

    def remove(self, name: str) -> bool:
        """Remove an entry.

        Returns False when there is none; what is no entry's name is nobody's business here,
        wherever it comes from.
        """
        if not _NAME.fullmatch(name):
            return False
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


def _scan(folder: Any) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        yield from found
