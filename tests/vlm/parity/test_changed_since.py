"""Changes between two questions, or between the processor and the model, are noticed, or are one clear line."""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from mlx import nn
from PIL import Image, ImageFile, PngImagePlugin
from twins import Scene, assert_alike

from visioncache.vlm.request.tracing import is_traced
from visioncache.vlm.scope import code

if TYPE_CHECKING:
    from pathlib import Path

A, B, _ = zoo.photos()
FAMILIES = ("gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl")
MARK = {"path": ""}


@pytest.mark.parametrize("way", ["bypass", "train"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_are_not_made_again_with_other_settings(family: str, way: str) -> None:
    def play(scene: Scene) -> list[Any]:
        inputs = scene.prepare(A)
        scene.processor.image_processor.image_mean = [0.1, 0.2, 0.3]
        if way == "train":
            scene.model.train()
            return [scene.embed(inputs)]
        with scene.bypass():
            return [scene.embed(inputs)]

    assert_alike(family, play, refusals=True)


@pytest.mark.parametrize("file", ["<string>", "<python-input-0>", "<doctest a[0]>"])
@pytest.mark.parametrize("family", FAMILIES)
def test_code_that_was_typed_is_no_librarys(family: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "@functools.wraps(own)\ndef new(self, x):\n    return own(self, x) * 1.5\n"

    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A), scene.ask(A)]
        with monkeypatch.context() as patch:
            for kind in (nn.LayerNorm, nn.RMSNorm):
                space: dict[str, Any] = {"functools": functools, "own": kind.__call__}
                exec(compile(text, file, "exec"), space)  # noqa: S102  # as whatever runs typed code
                patch.setattr(kind, "__call__", space["new"])
            answers += [scene.ask(A), scene.ask(B)]
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.filterwarnings("ignore:nothing is cached")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_that_a_users_image_processor_opens_is_read_each_time(family: str, tmp_path: Path) -> None:
    def mark(colour: str) -> None:
        Image.new("RGB", (400, 400), colour).save(MARK["path"])

    def play(scene: Scene) -> list[Any]:
        MARK["path"] = str(tmp_path / "mark.png")
        mark("red")
        base: Any = type(scene.processor.image_processor)

        class Marked(base):
            def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
                with Image.open(MARK["path"]) as picture:
                    marked = [one.copy() for one in (images if isinstance(images, list) else [images])]
                    for one in marked:
                        one.paste(picture.convert(one.mode), (0, 0))
                return super().__call__(marked, *args, **kwargs)

        scene.processor.image_processor.__class__ = Marked
        answers = [scene.ask(A), scene.ask(A)]
        mark("blue")
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.fixture(params=["__getattr__", "a class of its own"])
def dynamic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The table of a user's module that makes `gain` when it is asked for."""
    table = {"gain": 1.0}
    if request.param == "__getattr__":
        module = ModuleType("dynamic_settings")
        module.__getattr__ = table.__getitem__  # type: ignore[method-assign]
    else:
        kind = type("Settings", (ModuleType,), {"gain": property(lambda _: table["gain"])})
        module = kind("dynamic_settings")
    monkeypatch.setitem(globals(), "dynamic_settings", module)
    return table


@pytest.mark.filterwarnings("ignore:nothing is cached")
@pytest.mark.parametrize("family", ["gemma3", "llava", "llava_next", "mistral3", "paligemma"])
def test_what_a_module_makes_when_it_is_asked_for_is_asked_each_time(
    family: str, dynamic: dict[str, float]
) -> None:
    def play(scene: Scene) -> list[Any]:
        dynamic["gain"] = 1.0
        base: Any = type(scene.model.multi_modal_projector)

        class Gained(base):
            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                return super().__call__(*args, **kwargs) * dynamic_settings.gain  # type: ignore[name-defined]  # noqa: F821

        scene.model.multi_modal_projector.__class__ = Gained
        answers = [scene.ask(A), scene.ask(A)]
        dynamic["gain"] = 2.0
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["gemma4", "glm_ocr", "mimo_v2", "qwen2_5_vl", "qwen2_vl"])
def test_a_constant_of_a_module_that_a_function_imports_itself_counts(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A), scene.ask(A)]
        with monkeypatch.context() as patch:
            patch.setattr(Image, "BICUBIC", Image.Resampling.NEAREST)
            answers.append(scene.ask(A))
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("new", [nn.Identity.__call__, mx.tanh])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_librarys_method_in_the_place_of_another_counts(
    family: str, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(A), scene.ask(A)]
        with monkeypatch.context() as patch:
            for kind in (nn.LayerNorm, nn.RMSNorm):
                patch.setattr(kind, "__call__", new)
            answers.append(scene.ask(A))
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


class White(ImageFile.PyDecoder):
    """A decoder of PNGs that finds every picture white."""

    _pulls_fd = True

    def decode(self, _buffer: Any) -> tuple[int, int]:
        size: Any = self.state
        self.set_as_raw(b"\xff" * (size.xsize * size.ysize * 3))
        return -1, 0


@pytest.mark.parametrize("what", ["decoder", "modes"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_pil_decodes_with_counts(
    family: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "a.png")
    A.convert("RGB").save(path)

    def play(scene: Scene) -> list[Any]:
        answers = [scene.ask(path), scene.ask(path)]
        with monkeypatch.context() as patch:
            if what == "decoder":
                patch.setitem(Image.DECODERS, "zip", White)
            else:
                patch.setitem(PngImagePlugin._MODES, (8, 2), ("RGB", "BGR"))
            answers.append(scene.ask(path))
        return [*answers, scene.ask(path)]

    assert_alike(family, play)


@pytest.mark.parametrize("name", ["text_gain", "_gain", "pooled_tokens"])
def test_a_setting_that_a_users_class_reads_counts_whatever_its_name(name: str) -> None:
    def play(scene: Scene) -> list[Any]:
        base: Any = type(scene.model)
        body = f"def get_image_features(self, *a, **k): return own(self, *a, **k) * self.config.{name}"
        space: dict[str, Any] = {"own": base.get_image_features}
        exec(compile(body, "mine.py", "exec"), space)  # noqa: S102  # a class for each name
        scene.model.__class__ = type("Own", (base,), {"get_image_features": space["get_image_features"]})
        setattr(scene.model.config, name, 1.0)
        answers = [scene.ask(A), scene.ask(A)]
        setattr(scene.model.config, name, 2.0)
        return [*answers, scene.ask(A)]

    assert_alike("llama4", play)


def test_a_package_of_ones_own_is_no_librarys_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("my-packages", "beside"):
        package = tmp_path / folder / f"own_{folder[:2]}"
        package.mkdir(parents=True)
        (tmp_path / folder / "other-1.0.dist-info").mkdir()
        (package / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path / folder))
        importlib.import_module(package.name)
        assert not code.library(package.name)
        sys.modules.pop(package.name)
    assert all(map(code.library, ("PIL", "mlx", "numpy", "transformers")))


def test_inside_of_checkpoint_compilation_stays_as_it_is() -> None:
    def compiles() -> bool:
        ran: list[int] = []
        function = mx.compile(lambda a: (ran.append(1), a)[1])
        _ = function(mx.ones(2)), function(mx.ones(2))
        return len(ran) == 1

    x, seen = mx.array(np.ones((2, 3), np.float32)), list[bool]()
    loss = mx.checkpoint(lambda a: (seen.append(is_traced([a])), (a * 2).sum())[1])
    mx.grad(loss)(x)
    assert compiles()
    mx.disable_compile()
    try:
        mx.grad(loss)(x)
        assert not compiles()
    finally:
        mx.enable_compile()
    assert seen
    assert all(seen)
    assert not is_traced([x])
