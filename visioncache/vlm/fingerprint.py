"""Fingerprint: what an image's features depend on besides the image."""

from __future__ import annotations

import json
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from blake3 import blake3
from mlx.utils import tree_flatten

from visioncache.keys import Key
from visioncache.vlm.swap import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

version = cache(metadata.version)  # which reads a file anew each time

LANGUAGE_SIDE = ("language_model", "lm_head", "text")
"""Submodules that only see features: other weights there change no feature."""


class Fingerprint:
    """The identity of a model's vision side: its class, its settings and every one of its weights.

    `changed()` compares the parameter arrays by identity, so it costs a walk of the tree, not a
    hash: `model.update(...)`, `load_weights`, an adapter or a quantisation replace the arrays. An
    array that is written into (`weight[0] = 1`) stays the same object and is not noticed.
    """

    def __init__(self, model: Any, projector: str = "") -> None:
        self._model = model
        self._projector = projector
        self._arrays = dict(_vision_arrays(model, projector))
        hasher = blake3(max_threads=blake3.AUTO)
        for name, array in sorted(self._arrays.items()):
            content = Key.from_array(array).text if isinstance(array, mx.array) else repr(array)
            hasher.update(f"{name}:{content};".encode())
        for line in _structure(model):
            hasher.update(line.encode())
        hasher.update(settings_digest(_vision_settings(model)).encode())
        self.digest = hasher.hexdigest(length=16)

    def changed(self) -> bool:
        """Whether any weight of the vision side is another array than when this was taken."""
        now = dict(_vision_arrays(self._model, self._projector))
        return now.keys() != self._arrays.keys() or any(
            now[name] is not array for name, array in self._arrays.items()
        )


def settings_digest(*settings: Any) -> str:
    """64 bits over the attributes of processors and whatever else decides how pixels are made."""
    plain = [_plain(setting) for setting in settings]
    return blake3(json.dumps(plain, sort_keys=True).encode()).hexdigest(length=8)


def versions() -> str:
    """The version of mlx-vlm: another one may compute other features."""
    return f"mlx-vlm {version('mlx-vlm')}"


def _vision_arrays(model: Any, projector: str) -> Iterator[tuple[str, Any]]:
    if projector:
        yield from tree_flatten(resolve(model, projector).parameters(), prefix=f".{projector}")
    for name, child in model.items():
        # As in MLX's own parameters(): what begins with an underscore is a model's state.
        if name not in LANGUAGE_SIDE and not name.startswith("_"):
            flat = child.parameters() if hasattr(child, "parameters") else child
            yield from tree_flatten(flat, prefix=f".{name}") if flat is not None else ()


def _structure(model: Any) -> Iterator[str]:
    """The class and the plain attributes of every module of the vision side, in order."""
    for name, module in sorted(model.named_modules(), key=lambda item: item[0]):
        if name.split(".")[0] not in LANGUAGE_SIDE:
            cls = type(module)
            kind = getattr(cls, "__visioncache_original__", cls)
            scalars = {
                key: value
                for key, value in vars(module).items()
                if not key.startswith("_") and isinstance(value, (bool, int, float, str, tuple))
            }
            yield f"{name}:{kind.__module__}.{kind.__qualname__}:{sorted(scalars.items())};"


def _vision_settings(model: Any) -> dict[str, Any]:
    """The model's config without what only the language side and the tokenizer read."""
    return {
        name: value
        for name, value in vars(model.config).items()
        if not name.startswith(("_", "text_", "language_", "llm_", "quantization", "lora"))
        and "token" not in name
    }


def _plain(value: Any, depth: int = 0) -> Any:
    """Anything as JSON: scalars, containers and the public attributes of objects, four levels deep."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if depth >= 4 or not hasattr(value, "__dict__"):  # noqa: PLR2004
        return name
    public: Mapping[str, Any] = {key: item for key, item in vars(value).items() if not key.startswith("_")}
    return {
        "class": name,
        **{k: _plain(v, depth + 1) for k, v in public.items() if not callable(v)},
    }
