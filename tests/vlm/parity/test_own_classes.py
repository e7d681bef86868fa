"""Classes of models and processors that are a user's own, or a library's that was never proven."""

from __future__ import annotations

import sys
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
import zoo
from harness import embedded, greedy, prepared
from mlx_vlm.models.llava import Model as Llava
from twins import Scene, assert_alike, outcome

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B, _ = zoo.photos()
FAMILIES = ["aya_vision", "gemma3", "idefics3", "llava", "mistral3", "paligemma", "qwen2_5_vl", "qwen3_vl"]


def first_of(pixels: Any) -> Any:
    return mx.array(pixels[0] if isinstance(pixels, (list, tuple)) else pixels)


class Plain:
    """Defines nothing."""


class ByPosition:
    """Takes whatever comes, and reads the pixels by their place."""

    def get_input_embeddings(self, *args: Any, **kwargs: Any) -> Any:
        features = super().get_input_embeddings(*args, **kwargs)  # type: ignore[misc]
        if args[1] is not None:
            features.inputs_embeds = features.inputs_embeds * 0.5
        return features


class ByName:
    """Names two inputs, and calls the rest by a name of its own."""

    def get_input_embeddings(self, input_ids: Any, pixel_values: Any = None, **rest: Any) -> Any:
        if pixel_values is not None:
            half = isinstance(pixel_values, list)
            pixel_values = [p * 0.5 for p in pixel_values] if half else pixel_values * 0.5
        return super().get_input_embeddings(input_ids, pixel_values, **rest)  # type: ignore[misc]


class Calls:
    """Overrides how the model is called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)  # type: ignore[misc]


class Looks:
    """Reads the pixels beside the tower: nothing of it can be cached."""

    def get_input_embeddings(self, input_ids: Any, pixel_values: Any = None, *args: Any, **rest: Any) -> Any:
        features = super().get_input_embeddings(input_ids, pixel_values, *args, **rest)  # type: ignore[misc]
        if pixel_values is not None:
            features.inputs_embeds = features.inputs_embeds * (1 + first_of(pixel_values).mean())
        return features


def becomes(scene: Scene, mixin: type, module: str = "myproject.models") -> None:
    """Make the model one of a class of the user's own, and attach it."""
    scene.detach()
    scene.model.__class__ = type("Mine", (mixin, type(scene.model)), {"__module__": module})
    scene.attach()


@pytest.mark.parametrize("with_processor", [True, False], ids=["processor", "prepared"])
@pytest.mark.parametrize("mixin", [Plain, ByPosition, ByName, Calls, Looks])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_a_users_own_class_answers_as_without_a_cache(
    family: str, mixin: type, *, with_processor: bool
) -> None:
    def play(scene: Scene) -> list[Any]:
        becomes(scene, mixin)
        answers = [scene.ask(A), scene.ask(A), scene.ask(B), scene.ask(A)]
        return [*answers, outcome(lambda: greedy(scene.tiny, [A]))]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = assert_alike(family, play, with_processor=with_processor)
    assert not any(isinstance(answer, Exception) for answer in answers)


@pytest.mark.parametrize(("mixin", "encodes"), [(Plain, 1), (ByPosition, 2), (ByName, 2), (Calls, 2)])
@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3", "paligemma", "qwen2_5_vl"])
def test_it_hits_after_one_comparison(family: str, mixin: type, encodes: int) -> None:
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=True)
    becomes(scene, mixin)
    for _ in range(3):
        scene.ask(A)
    assert scene.cache is not None
    assert (scene.encodes(), scene.cache.info().hits) == (encodes, 2)
    scene.detach()


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_inputs_for_a_users_own_class_answer_right_in_a_model_of_the_class_behind_it(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        other = zoo.build(family, 1).model
        becomes(scene, Plain)
        inputs = scene.prepare(A)
        return [scene.embed(inputs, model=other), scene.embed(inputs), scene.embed(inputs, model=other)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_a_class_made_from_an_attached_one_is_described_without_what_is_ours(family: str) -> None:
    scene = Scene(zoo.build(family), VisionFeatureCache(), with_processor=True)
    scene.ask(A)
    met = len(list(scene.attached._fingerprint._anatomy.met()))
    scene.model.__class__ = type("Mine", (type(scene.model),), {"__module__": "myproject.models"})
    scene.ask(A)
    assert len(list(scene.attached._fingerprint._anatomy.met())) < met + 20
    scene.detach()


def test_a_class_of_mlx_vlms_that_is_in_no_row_is_not_taken_for_the_one_behind_it() -> None:
    model = zoo.build("llava").model
    model.__class__ = type("Model", (Llava,), {"__module__": "mlx_vlm.models.next_llava.next_llava"})
    with pytest.warns(UserWarning, match="next_llava is not in visioncache's table"):
        attach(model, None, VisionFeatureCache()).detach()


LIBRARY = """
    import mlx.core as mx

    class Looks:
        def get_input_embeddings(self, input_ids=None, pixel_values=None, **kwargs):
            features = super().get_input_embeddings(input_ids, pixel_values, **kwargs)
            if pixel_values is not None:
                first = pixel_values[0] if isinstance(pixel_values, (list, tuple)) else pixel_values
                features.inputs_embeds = features.inputs_embeds * (1 + mx.array(first).mean())
            return features

    class Doubles:
        def __call__(self, *args, **kwargs):
            return doubled(super().__call__(*args, **kwargs))

    def doubling(own):
        return lambda self, *args, **kwargs: doubled(own(self, *args, **kwargs))

    def doubled(outputs):
        if "pixel_values" in outputs:
            pixels = outputs["pixel_values"]
            outputs["pixel_values"] = [p * 2 for p in pixels] if isinstance(pixels, list) else pixels * 2
        return outputs
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A library that is installed, and that no family was proven with."""
    folder: Path = tmp_path_factory.mktemp("lib") / "site-packages"
    (folder / "visionboost").mkdir(parents=True)
    (folder / "visionboost" / "__init__.py").write_text(textwrap.dedent(LIBRARY))
    info = folder / "visionboost-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: visionboost\nVersion: 1.0\n")
    sys.path.insert(0, str(folder))
    import visionboost

    yield visionboost
    sys.path.remove(str(folder))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_librarys_own_class_of_models_answers_as_without_a_cache(family: str, library: Any) -> None:
    def play(scene: Scene) -> list[Any]:
        becomes(scene, library.Looks, "visionboost")
        return [scene.ask(A), scene.ask(A), scene.ask(B), scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_librarys_own_class_of_processors_answers_as_without_a_cache(family: str, library: Any) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.detach()
        kind = type(scene.processor)
        scene.processor.__class__ = type("Theirs", (library.Doubles, kind), {"__module__": "visionboost"})
        scene.attach()
        return [scene.ask(A), scene.ask(A), scene.ask(B), scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_library_that_wraps_a_processors_call_is_compared(
    family: str, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(zoo.build(family).processor)
    monkeypatch.setattr(kind, "__call__", library.doubling(kind.__call__))

    def play(scene: Scene) -> list[Any]:
        return [scene.ask(A), scene.ask(A), scene.ask(B), scene.ask(A)]

    assert_alike(family, play)


def test_what_reads_pixels_beside_the_tower_is_said_in_one_line() -> None:
    tiny = zoo.build("llava")
    tiny.model.__class__ = type("Mine", (Looks, type(tiny.model)), {"__module__": "myproject.models"})
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache), pytest.warns(UserWarning, match="an image is not cached"):
        embedded(tiny, prepared(tiny, [A]))
    assert len(cache) == 0
