"""Outside: what code reads that lies outside of it, files above all, and may be another each time."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from visioncache.vlm.scope import code
from visioncache.vlm.scope.reading import OPENS_IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from visioncache.vlm.scope.reading import Reading

_OUTSIDE = frozenset(
    [
        *("open", "fdopen", "read_text", "read_bytes", "fromfile", "loadtxt", "genfromtxt", "memmap", "mmap"),
        *("imread", "load_file", "safe_open", "read_csv", "getsize", "getmtime", "stat", "exists", "is_file"),
        *("listdir", "iterdir", "check_output", "Popen", "popen", "system", "urlopen", "urlretrieve"),
        *("isfile", "isdir", "islink", "lexists", "scandir", "readlink", "is_dir", "expandvars", "getcwd"),
        *("geterr", "spec_from_file_location", "exec_module", "getrecursionlimit", "current_thread"),
        *("getcontext", "getenvb", "pread", "getlocale", "localeconv", "main_thread"),
        *("_getframe", "currentframe", "f_globals", "f_locals", "__globals__", "__builtins__"),
    ]
)
"""Names by which code reads what lies outside of it."""

_FUNCTIONS = _OUTSIDE | {"load", "FileIO", "access", "getenv", "reload", "walk", "which"}
"""Names under which libraries have such functions, whatever a user calls them."""

_READERS = frozenset(
    [
        *("configparser", "dbm", "fileinput", "glob", "h5py", "linecache", "mmap", "pkgutil", "safetensors"),
        *("shelve", "sqlite3", "subprocess", "tarfile", "zipfile"),
    ]
)
"""Libraries that read what lies outside, whatever their functions are called."""


def outside(reading: Reading, found: Iterable[Any]) -> list[str]:
    """Name what a function reads that lies outside of it.

    Args:
        reading: the function's code, as it was read.
        found: what its names stand for.
    """
    chains = [chain for chain in reading.chains if len(chain) > 1]
    opening = [chain for chain in reading.chains if "open" in chain]
    # An image that is given and opened there is known by its pixels.
    only_images = opening and all(chain[-2:] == OPENS_IMAGES for chain in opening)
    of_images = {"open"} if only_images and not reading.opens_own else set[str]()
    named = reading.reads.union(*reading.chains)
    names = sorted((named & _OUTSIDE) - of_images)
    names += [".".join(chain) for chain in chains if chain[-1] == "load" or "random" in chain]
    if reading.imports:
        names += reading.reads & {"load", "random"}
    return [*names, *_readers(found)]


def _readers(found: Iterable[Any]) -> Iterator[str]:
    """Name the libraries' readers among objects, whatever a user calls them; PIL's `open` is none."""
    for value in found:
        behind = value
        while isinstance(behind, partial):
            behind = behind.func
        name = str(getattr(behind, "__name__", ""))
        is_module = isinstance(behind, ModuleType)
        module = name if is_module else str(getattr(behind, "__module__", None) or "")
        root = module.partition(".")[0]
        is_reader = name in _FUNCTIONS and not is_module and root != "PIL" and code.library(root)
        if root.lstrip("_") in _READERS or is_reader:
            yield name
