"""A live recorder: a cache's events to JSON lines on disk, bounded in memory and in files."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from visioncache.sizes import parse_size

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from visioncache.cache import VisionFeatureCache
    from visioncache.events import Event


class _Lines(RotatingFileHandler):
    """Lines into rotating files; a disk that is full is the caller's to hear of."""

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: ARG002, N802  # logging's name
        raise  # noqa: PLE0704  # logging calls this while it handles the error


class Recorder:
    """Write every event of a cache to `path` as it happens, until closed.

    Threads may write out of order; `load_trace` puts the events in the order of their numbers.

    Nothing is held in memory. A file that is full becomes `path.1`, that one `path.2`, and so on; the
    oldest goes. A disk that can't be written ends the recording with a warning, never a look-up.

        with Recorder(cache, "session.jsonl") as recorder:
            ...
        load_trace(recorder.paths)

    Args:
        cache: the cache to listen to.
        path: the newest file; what stood there is overwritten.
        max_bytes: the size of a file, as a number or as text ("64 MiB").
        files: how many files are kept, the newest included.
        secret: 32 bytes that key the images' digests, as in `Event.trace_line`.

    Raises:
        ValueError: a size that is none, or fewer than two files.
        OSError: the file can't be opened.
    """

    def __init__(
        self,
        cache: VisionFeatureCache,
        path: str | os.PathLike[str],
        *,
        max_bytes: float | str = "64 MiB",
        files: int = 4,
        secret: bytes | None = None,
    ) -> None:
        size = parse_size(max_bytes)
        if size < 1 or files < 2:  # noqa: PLR2004  # one is written while another is kept
            raise ValueError(f"max_bytes={max_bytes!r}, files={files}: at least 1 byte and 2 files")
        self.path = Path(path)
        self.files = files
        self._secret = secret
        for old in self.paths:  # of an earlier recording, which is not part of this one
            if old != self.path:
                old.unlink()
        self.path.open("wb").close()
        self._lines = _Lines(self.path, maxBytes=size, backupCount=files - 1, encoding="utf-8")
        self._unsubscribe = cache.subscribe(self._write)

    @property
    def paths(self) -> list[Path]:
        """The files that there are, oldest first."""
        numbered = [self.path.with_name(f"{self.path.name}.{i}") for i in range(self.files - 1, 0, -1)]
        return [path for path in [*numbered, self.path] if path.is_file()]

    def _write(self, event: Event) -> None:
        line = json.dumps(event.trace_line(self._secret))
        self._lines.handle(logging.LogRecord("", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Stop listening and close the file; doing it twice is harmless."""
        self._unsubscribe()
        with suppress(OSError):  # every line was flushed; what could not be was told then
            self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
