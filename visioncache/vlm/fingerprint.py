"""Fingerprint: what an image's features depend on besides the image: model, processor, code, versions."""

from __future__ import annotations

import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx import nn
from PIL import Image, PngImagePlugin, TiffImagePlugin

from visioncache.memory import device
from visioncache.vlm.patching.instances import class_of
from visioncache.vlm.request.file import DECODING, READERS
from visioncache.vlm.scope.anatomy import Anatomy
from visioncache.vlm.scope.classes import foreign, is_altered
from visioncache.vlm.scope.code import Habits, checkout, lasts, version
from visioncache.vlm.scope.described import Described, warn_once
from visioncache.vlm.scope.itself import at_first
from visioncache.vlm.scope.objects import modules_among
from visioncache.vlm.scope.values import PLAIN
from visioncache.vlm.scope.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LANGUAGE_SIDE = ("language_model", "lm_head", "text")
"""Submodules that only see features: other weights there change no feature."""

_ENTRANCES = ("get_input_embeddings", "get_image_features", "encode_image", "encode_images")
"""Methods of models that are called from outside."""

_MAKERS = ("process", "preprocess", "fetch_images")
"""Methods of processors that are called from outside."""

_DISTRIBUTIONS = ("mlx", "mlx-vlm", "transformers", "numpy", "pillow")

_TOKENS = re.compile("(^|_)tokens?$|_token_(id|ids|index|indices)$|^(bos|eos|pad|unk)_")
"""Names of settings that say which tokens mean what."""

_LANGUAGE = ("_", "text_", "language_", "llm_", "quantization", "lora")
"""How the names of a model's settings begin that are not for its vision side."""

_TEXT_AND_SOUND = re.compile(
    "^chat_template$|tokenizer|audio|speech|feature_extractor|name_or_path|_commit_hash|_id$|_ids$"
)
"""Names of a processor's attributes that are not for pixels."""

_MAKE_PIXELS = (
    "PIL.Image",
    "PIL.ImageOps",
    "numpy",
    "transformers.image_transforms",
    "transformers.image_utils",
)
"""Modules that image processors compute with, wherever they lie."""

_MAKE_FEATURES = ("mlx.core", "mlx.core.fast", "mlx.core.linalg", "mlx.nn", "mlx.nn.layers.activations")
"""Modules that models compute with, by way of MLX's own layers too."""

_MODES = ("_training", "_no_grad", "no_chunked_prefill")
"""Attributes of modules that say how they are run, and decide no feature."""


class Fingerprint(Described):
    """The identity of a model's vision side: its code, its settings and every one of its weights.

    It is taken anew when anything there is another object than before: an adapter, a quantisation, another
    setting, a method that was replaced or edited; and when a weight is written into (`weight += 1`). Only
    arrays that are new or were written into are hashed.

    Args:
        model: the model.
        projector: the path of a submodule of its language side that makes features too.
        vision: the path of its vision side, where that is not all but the language side.
        whole: take the language side too.
        anatomy: how the model is described.
    """

    def __init__(
        self,
        model: Any,
        projector: str = "",
        vision: str = "",
        *,
        whole: bool = False,
        anatomy: type[Anatomy] = Anatomy,
    ) -> None:
        self._model = model
        self._others = ("config",) if whole else ("config", *LANGUAGE_SIDE)
        self._is_setting: Callable[..., bool] = (lambda *_: True) if whole else _is_of_vision
        self._describe = anatomy
        self._paths = [path for path in (vision, projector) if path]
        self._is_inside = bool(vision)
        self._habits = self._of_users = Habits(frozenset(), frozenset())
        self._modules: list[nn.Module] | None = None
        self._listed: Anatomy | None = None
        super().__init__()

    def modules(self) -> list[nn.Module]:
        """Return the model and the modules that its vision side uses, as of the last look at the digest."""
        if self._modules is None or self._listed is not self._anatomy:
            self._listed = self._anatomy
            met = (one for one in self._anatomy.met() if isinstance(one, nn.Module))
            self._modules = [self._model, *modules_among([*self._roots().values(), *self._parts(), *met])]
        return self._modules

    def _held(self) -> Iterator[Any]:
        yield from super()._held()
        for module in [self._model, *modules_among([*self._roots().values(), *self._parts()])]:
            yield from module.values()

    def _roots(self) -> dict[str, Any]:
        """Give what the model holds itself, but for its language side and what lies inside of that."""
        own = {**self._model, **vars(self._model)}
        roots = {name: own[name] for name in sorted(own) if name not in self._others}
        if not self._is_inside:
            return roots
        return {n: one for n, one in roots.items() if not isinstance(one, (nn.Module, mx.array))}

    def _parts(self, watch: Watch | None = None) -> list[Any]:
        return [_at(self._model, path, watch or Watch()) for path in self._paths]

    def _counts(self, name: Any, value: Any) -> bool:
        """Tell whether an attribute of a module decides anything: what its own code only writes does not.

        What begins with an underscore counts where it is read, and not set by mlx-vlm's code as it runs.
        """
        if not isinstance(name, str) or isinstance(value, nn.Module):
            return True
        if name in _MODES:
            return False
        is_read, is_written = name in self._habits.reads, name in self._habits.writes
        if name.startswith("_"):
            is_read |= bool(self._of_users.reads)  # by a function of theirs, which is no method
            return is_read and (not is_written or name in self._of_users.writes)
        return is_read or not is_written

    def _decides(self, name: str, value: Any = None) -> bool:
        """Tell whether a setting of the config counts, as all do that a user's class reads."""
        return name in self._of_users.reads or self._is_setting(name, value)

    def _taken(self, before: Anatomy | None) -> Anatomy:
        model = self._model
        anatomy = self._describe(before, self._counts, was=at_first)
        kind = anatomy.watch.kind(model)
        roots = self._roots()
        inside = dict(zip(self._paths, self._parts(anatomy.watch), strict=True))
        modules = [model, *modules_among([*roots.values(), *inside.values()])]
        self._modules = None
        kinds = {base for one in modules for base in anatomy.watch.kind(one).__mro__} - {nn.Module}
        self._habits = Habits.of(kinds, _ENTRANCES)
        anatomy.unused = self._habits.unused
        self._of_users = Habits.of({one for one in kinds if not lasts(one) or is_altered(one)}, _ENTRANCES)
        self._itself.look(modules, _ENTRANCES, self._of_users.writes & self._habits.reads)
        for name in _MAKE_FEATURES:
            anatomy.strangers(name)

        def is_root(name: str, value: Any) -> bool:
            return name not in self._others and self._counts(name, value)

        config = anatomy.watch.fields(model.config, self._decides)
        for fields in (vars(model), model):
            anatomy.watch.mapping(fields, is_root)
        anatomy.add("model.__class__", kind)
        for name, value in roots.items():
            if self._counts(name, value):
                anatomy.add(f"model.{name}", at_first(model, name, value))
        for path, value in inside.items():
            anatomy.add(f"model.{path}", value)
        for name in filter(self._decides, sorted(config)):
            anatomy.add(f"model.config.{name}", config[name])
        # Some cast pixels to what the prompt's embeddings are.
        anatomy.add("embeds", [str(dtype) for dtype in _embedded(model, anatomy)])
        self._itself.look_at_states(anatomy.closed().states)
        return anatomy


class Settings(Described):
    """The identity of what makes pixels: a processor and its image processor, with their code and settings.

    Args:
        processor: the processor, or None.
        find: returns what it makes pixels with, as it is now: its image processor, or a function.
    """

    def __init__(self, processor: Any, find: Callable[[], Any]) -> None:
        self._processor, self._find = processor, find
        super().__init__()

    def _taken(self, before: Anatomy | None) -> Anatomy:
        maker = self._find()
        kinds = {class_of(self._processor), class_of(maker)}
        habits = Habits.of({base for kind in kinds for base in kind.__mro__}, _MAKERS)
        anatomy = Anatomy(before, None, filter(_is_of_pixels, habits.reads), at_first)
        if edited := checkout(_MAKE_PIXELS):
            anatomy.refuse(*edited)
            return anatomy
        anatomy.unused = habits.unused
        anatomy.watch.told(lambda: self._find() is maker)
        anatomy.add("image processor", maker)
        anatomy.add("PIL.Image", [Image.Image, Image.Exif])
        readers = [*READERS, *(one for one, _ in anatomy.watch.mapping(Image.OPEN).values())]
        decoders = anatomy.watch.mapping(Image.DECODERS).values()
        anatomy.add("decoders", foreign(anatomy.watch, [*readers, *decoders]))
        anatomy.add("tables", [PngImagePlugin._MODES, TiffImagePlugin.OPEN_INFO])  # noqa: SLF001
        for name, where in DECODING.items():
            anatomy.add(name, anatomy.watch.name(vars(where), name))
        for name in _MAKE_PIXELS:
            anatomy.strangers(name)
        if not anatomy.has(self._processor) and hasattr(self._processor, "__dict__"):
            anatomy.add("processor.__class__", anatomy.watch.kind(self._processor))
            own = anatomy.watch.fields(self._processor, _is_of_pixels)
            for name in filter(_is_of_pixels, sorted(own)):
                anatomy.add(f"processor.{name}", own[name])
        self._itself.look((), ())
        self._itself.look_at_states(anatomy.closed().states)
        return anatomy


def settings_digest(*settings: Any) -> str:
    """64 bits over a call's arguments, or whatever else decides how pixels are made."""
    if all(map(_is_plain, settings)):
        return _plain_digest(repr(settings))
    return _digest(settings)


def _is_plain(value: Any) -> bool:
    """Tell whether `repr` says all that there is to a call's arguments, as it mostly does."""
    if type(value) is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if type(value) in (tuple, list) else type(value) in PLAIN


@lru_cache(maxsize=1024)
def _plain_digest(settings: str) -> str:
    return _digest(settings)


def _digest(settings: Any) -> str:
    anatomy = Anatomy()
    anatomy.add("settings", settings)
    for place in anatomy.closed().opaque:
        warn_once(place)
    return anatomy.digest[:16]


def versions() -> str:
    """The versions of what computes features, and the kind of device: others may compute others."""
    return ", ".join([*(f"{name} {version(name)}" for name in _DISTRIBUTIONS), device()])


def is_of_tokens(name: str) -> bool:
    """Tell whether a setting says which token means what."""
    return bool(_TOKENS.search(name))


def _is_of_vision(name: str, _: Any = None) -> bool:
    """Tell whether a setting of a model's is for more than its language side and its tokenizer."""
    return not (_TOKENS.search(name) or name.startswith(_LANGUAGE))


def _is_of_pixels(name: str, _: Any = None) -> bool:
    """Tell whether an attribute of a processor's can decide pixels."""
    return not (_TOKENS.search(name) or _TEXT_AND_SOUND.search(name))


def _embedded(model: Any, anatomy: Anatomy) -> Iterator[mx.Dtype]:
    """The dtypes of the language side's embeddings, which are watched."""
    for path, module in sorted(model.named_modules(), key=lambda item: item[0]):
        kind = type(module).__name__
        if kind.endswith("Embedding") and "Rotary" not in kind and not anatomy.has(module):
            own = anatomy.watch.mapping(_at(model, path, anatomy.watch)).values()
            dtypes = [array.dtype for array in own if isinstance(array, mx.array)]
            yield from (dtype for dtype in dtypes if mx.issubdtype(dtype, mx.floating))


def _at(model: Any, path: str, watch: Watch) -> Any:
    """The submodule at a path; that it is this one is watched."""
    found = model
    for step in path.split("."):
        if isinstance(found, list):
            found = watch.items(found)[int(step)]
        else:
            found = watch.mapping(found, partial(_is_step, step))[step]
    return found


def _is_step(step: str, name: Any, _: Any) -> bool:
    return bool(name == step)
