"""Errors where the same call without a cache works: pickles, odd images, mixed dtypes, fine-tuning, mlx-vlm's prefixes."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm
import numpy as np
import pytest
import zoo
from harness import embedded, prepared, same
from mlx import nn
from mlx.utils import tree_map
from mlx_vlm import apc
from mlx_vlm.tokenizer_utils import NaiveStreamingDetokenizer
from mlx_vlm.trainer.vlm.sft.dataset import VisionDataset
from mlx_vlm.trainer.vlm.sft.runtime import evaluate_vlm
from mlx_vlm.trainer.vlm.sft.trainer import evaluate
from mlx_vlm.utils import StoppingCriteria
from PIL import Image
from twins import VARIED, Scene, assert_alike, looking, outcome, played, right

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, C = zoo.photos()
DEEP = Image.fromarray(np.full((48, 64), 30000, np.uint16))
"""Sixteen bits a pixel."""


# Settings and images ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family", ["aya_vision", "gemma3", "idefics2", "idefics3", "llava", "llava_next", "mllama", "smolvlm"]
)
def test_an_image_processor_that_does_not_pad_is_taken_as_it_is(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.processor.image_processor.do_pad = False
        answers = [scene.ask(A), scene.ask(A), scene.ask(B)]
        scene.processor.image_processor.do_pad = True
        answers += [scene.ask(A), scene.ask(A)]
        scene.processor.image_processor.do_pad = False
        return [*answers, scene.ask(A), scene.ask(B)]

    answers = assert_alike(family, play)
    if family in {"idefics3", "smolvlm"}:
        assert not isinstance(answers[0], Exception)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize(
    "family",
    ["gemma3", "glm_ocr", "idefics3", "lfm2_vl", "minimax_m3_vl", "qwen2_5_vl", "qwen3_vl"],
)
def test_a_picture_that_is_not_converted_is_opened_as_it_is(family: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{'tif' if mode in {'CMYK', 'I;16'} else 'png'}"
    (DEEP if mode == "I;16" else A.convert(mode)).save(path)

    def play(scene: Scene) -> list[Any]:
        answers = []
        for setting in (True, False, True):
            scene.processor.image_processor.do_convert_rgb = setting
            answers += [scene.ask(source) for source in (path, str(path), Image.open(path), path)]
        return answers

    plain, ours = played(family, play)
    for want, got in zip(plain, ours, strict=True):
        assert right(got, want) or isinstance(want, Exception)  # some open no Path, or no such picture


@pytest.mark.parametrize("with_processor", [True, False])
@pytest.mark.parametrize("family", sorted({"deepseek_v41", "glm4v", *VARIED}))
def test_an_image_that_the_prompt_has_no_place_for(family: str, with_processor: bool) -> None:
    def play(scene: Scene) -> list[Any]:
        prompt = scene.tiny.prompt(0)
        return [
            outcome(lambda: embedded(scene.tiny, prepared(scene.tiny, [A], prompt))) for _ in range(2)
        ] + [scene.ask(A)]

    assert_alike(family, play, with_processor=with_processor)


@pytest.mark.parametrize("family", VARIED)
def test_an_image_whose_file_was_read_to_its_end(family: str, tmp_path: Path) -> None:
    A.save(tmp_path / "a.png")

    def play(scene: Scene) -> list[Any]:
        image = Image.open(tmp_path / "a.png")
        image.verify()
        return [scene.ask(image), scene.ask(Image.open(tmp_path / "a.png"))]

    assert_alike(family, play)


@pytest.mark.parametrize(
    "setting", ["do_resize", "do_rescale", "do_normalize", "do_convert_rgb", "do_image_splitting"]
)
@pytest.mark.parametrize("family", VARIED)
def test_a_setting_that_is_off_is_answered_as_without_a_cache(family: str, setting: str) -> None:
    if (family, setting) == ("mistral3", "do_resize"):
        pytest.skip("unresized, Pixtral's patches lie beyond its table: mlx-vlm reads what is not its own")

    def play(scene: Scene) -> list[Any]:
        images = scene.processor.image_processor
        answers = [scene.ask(A)]
        setattr(images, setting, not getattr(images, setting, True))
        answers += [scene.ask(A), scene.ask(A), scene.ask(B)]
        setattr(images, setting, not getattr(images, setting))
        return [*answers, scene.ask(A), scene.ask(B)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "llava_next", "mistral3", "qwen2_5_vl"])
def test_images_in_nested_lists_are_taken_as_they_are(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        prompts = [scene.tiny.prompt(1)] * 2
        return [
            outcome(
                lambda f=first: (
                    embedded(scene.tiny, prepared(scene.tiny, [[f], [B]], prompts))["inputs_embeds"].shape
                )
            )
            for first in (A, DEEP, A.convert("L"), A.convert("RGBA"), A.convert("P"), DEEP)
        ]

    assert_alike(family, play)


class ByArray:
    """An array by protocol: to numpy, what a tensor of another library is."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, f"torch.{array.dtype}"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)

    def __len__(self) -> int:
        return len(self.array)


class Bare:
    """An array by protocol that shows nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


class ByCapsule:
    """An array by DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class ByInterface:
    """An array by numpy's older protocol."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape = array, array.shape
        self.__array_interface__ = array.__array_interface__


PIXELS = np.asarray(A.resize((64, 64)))
ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy": lambda a: a,
    "mlx": mx.array,
    "__array__": ByArray,
    "__array__ alone": Bare,
    "__dlpack__": ByCapsule,
    "__array_interface__": ByInterface,
    "memoryview": memoryview,
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl", "qwen3_vl"])
def test_images_that_are_arrays_are_taken_as_they_are(family: str, kind: str) -> None:
    first_channels = np.ascontiguousarray(PIXELS.transpose(2, 0, 1))

    def play(scene: Scene) -> list[Any]:
        answers = []
        for _ in range(2):
            for pixels in (
                PIXELS,
                first_channels,
                (first_channels[::-1]).copy(),
                first_channels / np.float32(255),
            ):
                answers.append(scene.ask(ARRAYS[kind](pixels.copy())))
                answers.append(outcome(lambda p=pixels: scene.prepare([ARRAYS[kind](p.copy())])["input_ids"]))
        return answers

    assert_alike(family, play)


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3", "qwen2_5_vl", "qwen3_vl"])
def test_an_array_that_is_written_into_between_two_turns_is_another_image(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        camera = np.ascontiguousarray(PIXELS.transpose(2, 0, 1))
        answers = []
        for shade in range(3):
            camera[:, :32] = 60 * shade
            answers += [scene.ask(camera), scene.ask(ByArray(camera)), scene.ask(camera)]
        return answers

    answers = assert_alike(family, play)
    assert isinstance(answers[0], Exception) or not same(answers[0], answers[3])


# Dtypes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [mx.float16], ids=["float16"])
@pytest.mark.parametrize("part", ["vision", "language", "projector"])
@pytest.mark.parametrize("family", VARIED)
def test_a_model_of_two_dtypes_answers_as_without_a_cache(family: str, part: str, half: Any) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.detach()
        for name, child in scene.model.children().items():
            kind = "language" if name == "language_model" else "vision" if "vision" in name else "projector"
            if kind == part:
                child.update(
                    tree_map(
                        lambda w: w.astype(half) if mx.issubdtype(w.dtype, mx.floating) else w,
                        child.parameters(),
                    )
                )
        scene.attach()
        order: list[tuple[Any, ...]] = [(A,), (A,), (B,), (A,)]
        pair = [outcome(lambda: scene.ask(A, B)["inputs_embeds"].dtype) for _ in range(2)]
        return [*(scene.ask(*images) for images in order), *pair, scene.ask(B)]

    assert_alike(family, play)


# Fine-tuning --------------------------------------------------------------------------------------


def tuned(tiny: zoo.Tiny) -> None:
    """Give the processor a chat template that reads as the family's prompts do."""
    mark = tiny.prompt(1).removesuffix("What differs?")
    tiny.processor.chat_template = tiny.processor.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['content'] is string %}{{ m['content'] }}{% else %}"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}" + mark + "{% else %}"
        "{{ c['text'] if 'text' in c else c['content'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    )


@pytest.mark.parametrize("way", [evaluate, evaluate_vlm], ids=lambda w: w.__name__)
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl", "qwen3_vl"])
def test_fine_tuning_is_evaluated_on_images_that_were_chatted_about(
    family: str, way: Callable[..., Any], tmp_path: Path
) -> None:
    paths = [str(tmp_path / f"{n}.png") for n in range(2)]
    for path, image in zip(paths, (A.resize((56, 56)), B.resize((56, 56))), strict=True):
        image.save(path)
    rows = [
        {
            "messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}],
            "images": [path],
        }
        for path in paths
    ]

    def play(scene: Scene) -> list[Any]:
        tuned(scene.tiny)
        dataset = VisionDataset(rows, scene.model.config, scene.processor)

        def loss(size: int) -> Any:
            return outcome(lambda: float(way(scene.model, dataset, size, 2 // size)))

        answers = [loss(1)]
        answers += [scene.ask(path) for path in paths]
        return [*answers, loss(1), loss(2), scene.ask(paths[0])]

    plain, ours = played(family, play)
    assert isinstance(plain[0], float), plain[0]
    for want, got in zip(plain, ours, strict=True):
        if isinstance(want, float):
            assert got == pytest.approx(want, rel=1e-4)
        else:
            assert type(got) is type(want)
            assert isinstance(want, Exception) or same(got, want)


# Pickles ------------------------------------------------------------------------------------------


def things(scene: Scene) -> dict[str, Any]:
    named = {
        "processor": scene.processor,
        "tokenizer": scene.processor.tokenizer,
        "image processor": scene.processor.image_processor,
        "model": scene.model,
        "config": scene.model.config,
    }
    return named | looking(scene.model)


@pytest.mark.parametrize("family", [*VARIED, "internvl_chat", "phi3_v"])
def test_what_is_attached_pickles_to_what_it_is_without(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        scene.ask(A)
        dumps = {name: outcome(lambda t=thing: pickle.dumps(t)) for name, thing in things(scene).items()}
        answers: list[Any] = [
            {n: type(d).__name__ if isinstance(d, Exception) else "pickles" for n, d in dumps.items()}
        ]
        loads = {n: pickle.loads(d) for n, d in dumps.items() if isinstance(d, bytes)}  # noqa: S301
        originals = things(scene)
        answers.append({n: f"{type(t).__module__}.{type(t).__qualname__}" for n, t in loads.items()})
        model, processor = loads.get("model"), loads.get("processor")
        answers += [scene.ask(A, model=model), scene.ask(A, processor=processor), scene.ask(A)]
        answers.append(outcome(lambda: loads["tokenizer"](scene.tiny.prompt(1))["input_ids"]))
        scene.detach()
        same_class = [n for n, t in loads.items() if type(t) is not type(originals[n])]
        answers += [same_class, scene.prepare(A, processor=processor), scene.ask(A, model=model)]
        return answers

    assert_alike(family, play)


def written_and_read(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, written_and_read])
@pytest.mark.parametrize(
    "family", ["deepseek_vl_v2", "deepseekocr", "falcon_ocr", "jina_vlm", "moondream3", "llava_bunny"]
)
def test_what_stands_for_an_image_processor_is_copied_as_what_it_stands_for(
    family: str, copied: Callable[[Any], Any]
) -> None:
    tiny = zoo.build(family)
    plain = getattr(tiny.processor, "image_processor", None)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        made = copied(tiny.processor.image_processor)
    assert type(made) is type(plain)  # once it is detached, as everything


NO_IMAGES: dict[str, list[Any]] = {
    "none": [None], "one and none": [A, None], "a list": [[A]], "an empty list": [[]], "a number": [3],
}  # fmt: skip


@pytest.mark.parametrize("images", NO_IMAGES.values(), ids=NO_IMAGES)
@pytest.mark.parametrize(
    "family", ["deepseek_vl_v2", "deepseekocr", "deepseekocr_2", "unlimited_ocr", "qwen2_5_vl"]
)
def test_what_is_no_image_is_refused_as_without_a_cache(family: str, images: list[Any]) -> None:
    tiny = zoo.build(family)
    plain = outcome(lambda: prepared(tiny, images))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        ours = outcome(lambda: prepared(tiny, images))
    assert isinstance(ours, type(plain))
    assert isinstance(plain, Exception) or family == "qwen2_5_vl"


@pytest.mark.parametrize("family", ["llava", "mistral3", "qwen2_5_vl", "idefics3", "minicpmo"])
def test_what_was_pickled_while_attached_holds_nothing_of_us(family: str) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        embedded(tiny, prepared(tiny, [A]))
        things = (tiny.processor, tiny.processor.tokenizer, tiny.processor.image_processor)
        written = [pickle.dumps(thing) for thing in things]
    assert not any(b"visioncache" in data for data in written)


def test_a_cache_pickles_as_mlx_vlms_does() -> None:
    cache = VisionFeatureCache(7, "1 MiB")
    cache.put("x", mx.zeros((4, 4)))
    again = pickle.loads(pickle.dumps(cache))  # noqa: S301
    assert (len(again), again.max_size, again.info().max_bytes) == (0, 7, 2**20)
    again.put("x", mx.ones((4, 4)))
    assert (len(cache), len(again)) == (1, 1)
    for copied in (copy.copy(cache), copy.deepcopy(cache)):
        copied.put("y", mx.ones((4, 4)))
        assert "y" not in cache


# All or nothing -----------------------------------------------------------------------------------


def world() -> dict[tuple[str, str], int]:
    """Collect what every name of mlx-vlm, and of what it stands on, is bound to now."""
    roots = ("mlx_vlm", "mlx.nn", "PIL", "transformers.image_processing", "transformers.processing_utils")
    modules = [m for name, m in sorted(sys.modules.items()) if name.startswith(roots) and m is not None]
    bound = {
        (m.__name__, n): id(v) for m in modules for n, v in list(vars(m).items()) if not n.startswith("__")
    }
    classes = {v for m in modules for v in list(vars(m).values()) if isinstance(v, type)}
    own = [cls for cls in classes if cls.__module__.startswith(("mlx_vlm", "mlx.nn", "PIL"))]
    return bound | {
        (f"{cls.__module__}.{cls.__qualname__}", n): id(v)
        for cls in own
        for n, v in list(vars(cls).items())
        if n != "__doc__"
    }


def changed(before: dict[Any, int]) -> list[Any]:
    after = world()
    return [name for name, bound in before.items() if after.get(name) != bound]


class Slotted:
    """A processor that nothing can be hung on."""

    __slots__ = ("image_processor", "tokenizer")

    def __init__(self, tiny: zoo.Tiny) -> None:
        self.image_processor, self.tokenizer = tiny.processor.image_processor, tiny.processor.tokenizer

    def __call__(self, **_: Any) -> None:
        raise NotImplementedError


class Frozen:
    """A processor that refuses every attribute."""

    def __init__(self, tiny: zoo.Tiny) -> None:
        vars(self).update(image_processor=tiny.processor.image_processor, tokenizer=tiny.processor.tokenizer)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} can't be set")

    def __call__(self, **_: Any) -> None:
        raise NotImplementedError


class SlottedTokenizer:
    """A tokenizer that nothing can be hung on."""

    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


def with_slotted_tokenizer(tiny: zoo.Tiny) -> Any:
    processor = copy.copy(tiny.processor)
    processor.tokenizer = SlottedTokenizer(tiny.processor.tokenizer)
    return processor


def with_slotted_images(tiny: zoo.Tiny) -> Any:
    processor = copy.copy(tiny.processor)
    processor.image_processor = Slotted(tiny)
    return processor


ODD: list[Callable[[zoo.Tiny], Any]] = [Slotted, Frozen, with_slotted_tokenizer, with_slotted_images]


@pytest.mark.parametrize("odd", ODD, ids=lambda o: o.__name__)
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "minicpmo", "mistral3", "qwen2_5_vl"])
def test_an_attach_that_fails_leaves_everything_as_it_was(
    family: str, odd: Callable[[zoo.Tiny], Any]
) -> None:
    tiny = zoo.build(family)
    plain = embedded(tiny, prepared(tiny, [A]))
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):  # what is imported late is imported now
        embedded(tiny, prepared(tiny, [A]))
    processor = odd(tiny)
    own = [type(module) for _, module in tiny.model.named_modules()]
    before = world()
    for _ in range(5):
        attached = outcome(lambda: attach(tiny.model, processor, VisionFeatureCache()))
        if not isinstance(attached, Exception):
            attached.detach()
        assert changed(before) == []
        assert [type(module) for _, module in tiny.model.named_modules()] == own
    cache = VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache):
        assert all(same(embedded(tiny, prepared(tiny, [A])), plain) for _ in range(2))
    assert cache.info().hits > 0
    assert changed(before) == []


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "minicpmo", "mistral3", "qwen2_5_vl"])
def test_what_is_refused_leaves_everything_as_it_was(family: str) -> None:
    tiny, other = zoo.build(family), zoo.build(family, seed=1)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        embedded(tiny, prepared(tiny, [A]))
    before = world()
    refused: list[Callable[[], Any]] = [
        lambda: attach(tiny.processor, tiny.model, VisionFeatureCache()),
        lambda: attach(tiny.model, tiny.processor, {}),  # type: ignore[arg-type]
        lambda: attach(nn.Linear(2, 2), tiny.processor, VisionFeatureCache()),
        lambda: attach(tiny.model, 3, VisionFeatureCache()),
        lambda: attach(tiny.model, object(), VisionFeatureCache()),
    ]
    for _ in range(3):
        for attempt in refused:
            assert isinstance(outcome(attempt), Exception)
            assert changed(before) == []
    with attach(tiny.model, tiny.processor, VisionFeatureCache()):
        inside = world()
        for _ in range(3):
            for model, processor in (
                (tiny.model, None),
                (tiny.model, tiny.processor),
                (other.model, tiny.processor),
            ):
                assert isinstance(
                    outcome(lambda m=model, p=processor: attach(m, p, VisionFeatureCache())), Exception
                )
            assert changed(inside) == []
        assert same(*(embedded(tiny, prepared(tiny, [A])) for _ in range(2)))
    assert changed(before) == []


@pytest.mark.parametrize("first", [0, 1])
def test_attachments_that_end_in_any_order_leave_everything_as_it_was(first: int) -> None:
    tinies = [zoo.build(family) for family in ("llava", "qwen2_5_vl")]
    before = world()
    attachments = [attach(t.model, t.processor, VisionFeatureCache()) for t in tinies]
    attachments.pop(first).detach()
    assert attachments[0].is_attached
    attachments[0].detach()
    attachments[0].detach()
    assert changed(before) == []


# mlx-vlm's own prefix cache -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "family", ["gemma3", "idefics3", "llava", "mistral3", "paligemma", "qwen2_5_vl", "qwen3_vl"]
)
def test_mlx_vlms_prefix_cache_hits_as_it_does_without_us(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        tokenizer = scene.processor.tokenizer
        scene.processor.detokenizer = NaiveStreamingDetokenizer(tokenizer)
        tokenizer.stopping_criteria = StoppingCriteria([], tokenizer)
        manager = apc.APCManager(num_blocks=256, block_size=16)
        answers = []
        for image in (A, A, B, A, B, A.resize((32, 32)), A):

            def ask(image: Any = image) -> Any:
                steps = mlx_vlm.stream_generate(
                    scene.model, scene.processor, scene.tiny.prompt(1) + " Look at all of it." * 4, image=[image],
                    max_tokens=3, temperature=0.0, apc_manager=manager,
                )  # fmt: skip
                taken = list(steps)
                return taken[-1].cached_tokens, [step.token for step in taken]

            answers.append(outcome(ask))
        return answers

    answers = assert_alike(family, play)
    assert not isinstance(answers[0], Exception), answers[0]
