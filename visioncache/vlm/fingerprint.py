"""Fingerprint: what an image's features depend on besides the image."""

from __future__ import annotations

import json
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from blake3 import blake3
from mlx import nn

from visioncache.vlm.anatomy import Anatomy, counts
from visioncache.vlm.patching.instances import class_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

version = cache(metadata.version)  # which reads a file anew each time

LANGUAGE_SIDE = ("language_model", "lm_head", "text")
"""Submodules that only see features: other weights there change no feature."""


class Fingerprint:
    """The identity of a model's vision side: its class, its settings and every one of its weights.

    It is taken anew when anything there is another object than before: `model.update(...)`,
    `load_weights`, an adapter, a quantisation or another setting. Only arrays that it did not know are
    hashed then. One that is written into (`weight[0] = 1`) stays the same object and is not noticed.

    Args:
        model: the model.
        projector: the path of a submodule of its language side that makes features too.
        vision: the path of its vision side, where that is not all but the language side.
    """

    def __init__(self, model: Any, projector: str = "", vision: str = "") -> None:
        self._model = model
        self._projector, self._vision = projector, vision
        self._modules: list[nn.Module] | None = None
        self._anatomy = self._taken()

    def changed(self) -> bool:
        """Tell whether anything is another object than when the digest was taken; nothing is hashed."""
        return self._anatomy.changed()

    def arrays(self) -> Iterator[mx.array]:
        """Yield the parameters of the vision side as they are now."""
        for module in self._vision_side():
            yield from (value for value in module.values() if isinstance(value, mx.array))

    def modules(self) -> list[nn.Module]:
        """Return the modules of the vision side, and the model itself."""
        if self._modules is None or self.changed():
            self._modules = list(self._vision_side())
        return self._modules

    def _vision_side(self) -> Iterator[nn.Module]:
        inside = tuple(filter(None, (self._vision, self._projector)))
        for path, module in self._model.named_modules():
            language = any(step in LANGUAGE_SIDE for step in path.split(".")[:2])
            if not language or path.startswith(inside or ("\0",)):
                yield module

    @property
    def digest(self) -> str:
        """128 bits over the vision side as it is now."""
        if self._anatomy.changed():
            self._anatomy = self._taken(self._anatomy)
        return self._anatomy.digest

    def _taken(self, before: Anatomy | None = None) -> Anatomy:
        model, anatomy = self._model, Anatomy(before)
        config = vars(model.config)
        settings = {name: config[name] for name in sorted(anatomy.watch(config)) if _is_of_vision(name)}
        anatomy.add("model", class_of(model))
        for fields in (vars(model), model):
            for name, value in sorted(anatomy.watch(fields).items()):
                elsewhere = self._vision and isinstance(value, (nn.Module, mx.array))
                if name not in ("config", *LANGUAGE_SIDE) and counts(name, value) and not elsewhere:
                    anatomy.add(f".{name}", value)
        for path in filter(None, (self._vision, self._projector)):
            anatomy.add(path, _at(model, path, anatomy))
        for name, value in settings.items():
            anatomy.add(f"config.{name}", value)
        # Some cast pixels to what the prompt's embeddings are.
        anatomy.add("embeds", [str(dtype) for dtype in _embedded(model, anatomy)])
        return anatomy


def settings_digest(*settings: Any) -> str:
    """64 bits over the attributes of processors and whatever else decides how pixels are made."""
    plain = [_plain(setting) for setting in settings]
    return blake3(json.dumps(plain, sort_keys=True).encode()).hexdigest(length=8)


def versions() -> str:
    """The version of mlx-vlm: another one may compute other features."""
    return f"mlx-vlm {version('mlx-vlm')}"


def _is_of_vision(name: str) -> bool:
    """Whether a setting of a model's is for more than its language side and its tokenizer."""
    return "token" not in name and not name.startswith(
        ("_", "text_", "language_", "llm_", "quantization", "lora")
    )


def _embedded(model: Any, anatomy: Anatomy) -> Iterator[mx.Dtype]:
    """The dtypes of the language side's embeddings, which are watched."""
    for path, module in sorted(model.named_modules(), key=lambda item: item[0]):
        kind = type(module).__name__
        if kind.endswith("Embedding") and "Rotary" not in kind and not anatomy.has(module):
            own = anatomy.watch(_at(model, path, anatomy)).values()
            dtypes = [array.dtype for array in own if isinstance(array, mx.array)]
            yield from (dtype for dtype in dtypes if mx.issubdtype(dtype, mx.floating))


def _at(model: Any, path: str, anatomy: Anatomy) -> Any:
    """The submodule at a path; that it is this one is watched."""
    found = model
    for step in path.split("."):
        fields = anatomy.watch(found)
        found = fields[int(step)] if step.isdigit() else fields[step]
    return found


def _plain(value: Any, depth: int = 0) -> Any:
    """Anything as JSON: scalars, containers and the public attributes of objects, four levels deep."""
    if isinstance(value, np.generic):  # float64 is a float, and makes others of float32 than a float does
        return {"numpy": str(value.dtype), "is": value.item()}
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
