"""Proven: with which sources of mlx-vlm each family was seen to be exact.

`tools/prove_versions.py` probes every family with every version of mlx-vlm and writes proven.json: digests of
the source that decides what a family's language model is given, and the versions that have it.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from visioncache.vlm.patching.instances import class_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = "mlx_vlm.models"
PLUMBING = ("mlx_vlm.utils", "mlx_vlm.models.base")
"""Modules that every family's requests go through."""

_FROM = re.compile(r"^[ \t]*from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([.\w]+)", re.MULTILINE)

TABLE = Path(__file__).with_name("proven.json")


def origin(model: Any) -> type:
    """Return the class of mlx-vlm's that a model is of, or that a user's class of models was made from."""
    kinds = class_of(model).__mro__
    return next((kind for kind in kinds if kind.__module__.startswith(f"{MODELS}.")), kinds[0])


def package_of(model: Any) -> str:
    """Return the package of `mlx_vlm.models` that a model is from."""
    module = origin(model).__module__
    if module.startswith(f"{MODELS}."):
        return module.removeprefix(f"{MODELS}.").partition(".")[0]
    package = module.split(".")
    return package[-2] if len(package) > 1 else ""


@cache
def proven() -> dict[str, dict[str, list[str]]]:
    """Digests of sources by family, and the versions of mlx-vlm with each."""
    table: dict[str, dict[str, list[str]]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def is_proven(package: str, version: str) -> bool:
    """Tell whether a family was proven with this version of mlx-vlm and the source that is installed."""
    return version in proven().get(package, {}).get(source_digest(package), ())


def versions_with(package: str = "") -> list[str]:
    """Versions of mlx-vlm with which a family (or any) was proven, oldest first."""
    tables = [proven().get(package, {})] if package else proven().values()
    found = {version for table in tables for versions in table.values() for version in versions}
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


@cache
def source_digest(package: str) -> str:
    """64 bits over the source of a package of `mlx_vlm.models` and of all that it imports from there.

    The files are read, nothing is imported. A module without a source leaves its name alone in the digest.
    """
    hasher = blake3()
    for name in sorted(_reached(f"{MODELS}.{package}")):
        hasher.update(f"{name}\0".encode())
        hasher.update(_source(name) or b"")
    return hasher.hexdigest(length=8)


def _reached(package: str) -> set[str]:
    """Modules of `mlx_vlm.models` that a package consists of or imports, and the plumbing."""
    reached: set[str] = set()
    waiting = [*_modules_of(package)]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        waiting += (found for found in _imports(name) if found.startswith(f"{MODELS}."))
    return reached | set(PLUMBING)


def _modules_of(package: str) -> Iterator[str]:
    """A package and the modules that lie in it."""
    yield package
    spec = _spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield from (f"{package}.{path.stem}" for path in Path(folder).glob("*.py") if path.stem != "__init__")


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Modules of mlx-vlm that a module imports by name, wherever in its source."""
    source = _source(name)
    if source is None:
        return ()
    parent = name if _spec(name).submodule_search_locations is not None else name.rpartition(".")[0]
    found: list[str] = []
    for module, names in _FROM.findall(source.decode()):
        base = resolve_name(module, parent)
        found += (base, *(f"{base}.{word}" for word in re.findall(r"\w+", names)))
    found += _IMPORT.findall(source.decode())
    return tuple(
        one for one in dict.fromkeys(found) if one.startswith("mlx_vlm.") and _source(one) is not None
    )


@cache
def _source(name: str) -> bytes | None:
    """The bytes of a module's source, as its loader has them; None where there is no such module."""
    spec = _spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    source: bytes = spec.loader.get_data(spec.origin)
    return source


def _spec(name: str) -> Any:
    try:
        return find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
