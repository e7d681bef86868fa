"""The scope of keys: every setting, attribute and piece of code that decides features, and no state."""

from __future__ import annotations

import functools
import importlib
import math
import os
import subprocess
import sys
import threading
from collections import defaultdict
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from io import BytesIO, StringIO
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from harness import asked, embedded, greedy, prepared, same
from IPython.core.interactiveshell import InteractiveShell
from IPython.extensions.autoreload import ModuleReloader
from mlx import nn
from mlx.utils import tree_flatten
from PIL import Image
from transformers import image_transforms
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from visioncache import VisionFeatureCache
from visioncache.vlm import attach, fingerprint
from visioncache.vlm.fingerprint import settings_digest

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, _ = zoo.photos()
FAMILIES = ("qwen2_5_vl", "gemma3", "llava", "idefics3", "pixtral", "phi3_v", "internvl_chat")


class Mode(Enum):
    PLAIN = 1
    RICH = 2


class Level(IntEnum):
    ONE = 1


class Slotted:
    __slots__ = ("gain",)

    def __init__(self, gain: Any) -> None:
        self.gain = gain


class Nest:
    def __init__(self, inner: Any) -> None:
        self._inner = inner


class Texts(list):  # type: ignore[type-arg]
    pass


class Ruler:
    def __init__(self, unit: int) -> None:
        self.unit = unit

    def measure(self, x: int) -> int:
        return x * self.unit


SMALLEST = (1, 1)
GAIN = 1.0
TABLE = {"gain": 1.0}


def reads_a_global(x: float) -> float:
    return x * GAIN


def reads_it_through_another(x: float) -> float:
    return reads_a_global(x) + 1


def reads_a_table(x: float) -> float:
    return x * TABLE["gain"]


def nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = Nest(inner)
    return inner


def ring(value: int) -> Any:
    first = Nest(value)
    first.back = Nest(first)  # type: ignore[attr-defined]
    return first


def tagged(kind: type, base: Any, tag: int) -> Any:
    value = kind(base)
    value.tag = tag
    return value


def product(x: Any, y: Any) -> Any:
    return (x * y).sum()


def adder(y: int, *, z: int = 0) -> Callable[[int], int]:
    return lambda x: x + y + z


def scaled(by: float) -> Callable[[float], float]:
    def scale(x: float, by: float = by) -> float:
        return x * by

    return scale


PAIRS = [
    (Fraction(1, 3), Fraction(1, 4)),
    (Decimal("0.10"), Decimal("0.1")),
    (Mode.PLAIN, Mode.RICH),
    (Level.ONE, 1),
    (1, 1.0),
    (1, True),
    (0.0, -0.0),
    ("1", 1),
    ("b'1'", b"1"),
    (None, "None"),
    ({"a", "b"}, {"a"}),
    (frozenset({1}), {1}),
    ({Fraction(1, 2)}, {Fraction(1, 3)}),
    ({(1, 2)}, {(2, 1)}),
    (b"ab", b"ba"),
    (bytearray(b"ab"), bytearray(b"ba")),
    (Path("a"), Path("b")),
    (Path("a"), "a"),
    (mx.float16, mx.bfloat16),
    (np.dtype("float16"), np.dtype("float32")),
    (np.float32(0.5), 0.5),
    (np.float32(0.5), np.float64(0.5)),
    (np.int64(1), np.int32(1)),
    (np.array([1.0]), [1.0]),
    (np.array([1.0, 2.0]), np.array([2.0, 1.0])),
    (np.array([Fraction(1, 2)]), np.array([Fraction(1, 3)])),
    (mx.array([1.0]), np.array([1.0])),
    (1j, 2j),
    (range(3), range(4)),
    (slice(1, 2), slice(1, 3)),
    (..., None),
    (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS),
    (Image.Resampling.BICUBIC, 3),
    (A, B),
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x: mx.sin(x) + 1, lambda x: mx.cos(x) + 1),
    (lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x]),
    (adder(1), adder(2)),
    (adder(1), adder(1, z=2)),
    (scaled(1.0), scaled(2.0)),
    (functools.partial(math.pow, 2), functools.partial(math.pow, 3)),
    (functools.partial(math.pow, 2), functools.partial(math.fmod, 2)),
    (functools.partial(scaled(1.0)), functools.partial(scaled(2.0))),
    (Ruler(1).measure, Ruler(2).measure),
    (mx.compile(adder(1)), mx.compile(adder(2))),
    (mx.grad(product), product),
    (mx.grad(product, argnums=0), mx.grad(product, argnums=1)),
    (mx.value_and_grad(product, argnums=0), mx.value_and_grad(product, argnums=(0, 1))),
    (mx.vmap(product, in_axes=(0, None)), mx.vmap(product, in_axes=(0, 0))),
    (mx.vmap(product, out_axes=0), mx.vmap(product, out_axes=1)),
    (functools.lru_cache(adder(1)), functools.lru_cache(adder(2))),
    (nn.gelu, nn.gelu_approx),
    (np.mean, np.median),
    (Slotted(1), Slotted(2)),
    (Slotted(Fraction(1, 2)), Slotted(Fraction(1, 3))),
    (nested(5, 1), nested(5, 2)),
    (nested(1200, 1), nested(1200, 2)),
    ([[[[[[[1]]]]]]], [[[[[[[2]]]]]]]),
    (ring(1), ring(2)),
    (Texts([1]), [1]),
    (tagged(Texts, [1], 1), tagged(Texts, [1], 2)),
    ({1: "a"}, {"1": "a"}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({Mode.PLAIN: 1}, {Mode.RICH: 1}),
    (Slotted, Ruler),
    (int, float),
    (math, os),
    (defaultdict(int), defaultdict(float)),
    (BytesIO(b"a"), BytesIO(b"b")),
    (StringIO("a"), StringIO("b")),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=map(str, range(len(PAIRS))))
def test_settings_that_differ_have_other_digests(one: Any, other: Any) -> None:
    assert settings_digest(one) == settings_digest(one)
    assert settings_digest(one) != settings_digest(other)
    assert settings_digest({"it": [one]}) != settings_digest({"it": [other]})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_setting_of_any_kind_is_noticed_while_attached_and_before(family: str) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache(max_size=200)
    holder = tiny.processor.image_processor
    some = [pair for pair in PAIRS if not isinstance(pair[0], int)][::4]
    scopes = set()
    for one, other in some[::4]:
        for value in (one, other):
            holder.extra_setting = value
            assert asked(tiny, cache, A) == (0, 1), value
    with attach(tiny.model, tiny.processor, cache) as attached:
        for one, other in some:
            for value in (one, other):
                holder.extra_setting = value
                scopes.add(attached.processor_side.settings.digest)
    assert len(scopes) == 2 * len(some)


def edited_in_place(holder: Any) -> list[Callable[[], None]]:
    """Give a holder settings that are changed without becoming other objects, and the changes."""
    holder.table = {"deep": [{"gain": [1.0, 2.0]}]}
    holder.scale = np.ones(3)
    holder.mean, holder.table_of_means = np.zeros((224, 224), np.float32), np.zeros((3, 600, 600))
    holder.chosen = {1, 2}
    holder.slotted = Slotted(1)
    holder.nest = nested(60, ring(1))
    holder.ruler = Ruler(1)
    holder.measure = holder.ruler.measure

    def deepest() -> Any:
        found = holder.nest
        while isinstance(found._inner, Nest):
            found = found._inner
        return found

    return [
        lambda: holder.table["deep"][0]["gain"].append(3.0),
        lambda: holder.scale.__setitem__(1, 2.0),
        lambda: holder.mean.__setitem__((7, 7), 2.0),
        lambda: holder.table_of_means.T.__setitem__(..., 1.0),
        lambda: holder.chosen.add(3),
        lambda: setattr(holder.slotted, "gain", 2),
        lambda: setattr(deepest(), "_inner", 2),
        lambda: setattr(holder.ruler, "unit", 2),
        lambda: setattr(holder, "_private", 1),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_settings_that_are_edited_in_place_at_any_depth_are_noticed(family: str) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache(max_size=50)
    changes = edited_in_place(tiny.processor.image_processor)
    with attach(tiny.model, tiny.processor, cache):
        for change in [lambda: None, *changes]:
            change()
            with cache.watch() as delta:
                embedded(tiny, prepared(tiny, [A]))
                embedded(tiny, prepared(tiny, [A]))
            assert (delta.hits, delta.misses) == (1, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_a_settings_names_is_noticed(family: str) -> None:
    tiny = zoo.build(family)
    tiny.processor.image_processor.gains = {"first": 1.0, "second": 0.5}
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        settings = attached.processor_side.settings  # type: ignore[union-attr]
        before = settings.digest
        gains = tiny.processor.image_processor.gains
        gains["first"] = gains.pop("first")
        assert settings.digest != before
        gains["second"] = gains.pop("second")
        assert settings.digest == before


def test_a_function_is_known_by_the_globals_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = (reads_a_global, reads_it_through_another)
    before = [settings_digest(one) for one in functions]
    monkeypatch.setitem(globals(), "GAIN", 2.0)
    assert all(settings_digest(one) != was for one, was in zip(functions, before, strict=True))
    was = settings_digest(reads_a_table)
    monkeypatch.setitem(TABLE, "gain", 2.0)
    assert settings_digest(reads_a_table) != was


MAKERS = ("qwen2_5_vl", "internvl_chat", "phi3_v", "pixtral", "gemma4", "paddleocr_vl")


def brighter(method: Any) -> Any:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple(_brighter(one) for one in args)
        return method(self, *args, **kwargs)

    return call


def _brighter(value: Any) -> Any:
    if isinstance(value, list):
        return [_brighter(one) for one in value]
    if isinstance(value, Image.Image):
        return value.copy().point(lambda x: min(255, x + 40))
    return value


@pytest.mark.parametrize("where", ["class", "instance", "code"])
@pytest.mark.parametrize("family", MAKERS)
def test_a_replaced_method_of_the_image_processor_is_noticed(
    family: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    maker = tiny.processor.image_processor
    kind = type(maker)
    name = next(n for n in ("_process_one", "preprocess", "__call__") if n in vars(kind))
    asked(tiny, cache, A)
    assert asked(tiny, cache, A) == (1, 0)
    function = vars(kind)[name]
    if where == "class":
        monkeypatch.setattr(kind, name, brighter(function))
    elif where == "instance":
        setattr(maker, name, MethodType(brighter(function), maker))
    else:  # as %autoreload 2 edits a function
        monkeypatch.setattr(function, "__code__", recompiled(function))
    hits, misses = asked(tiny, cache, A)
    assert hits == 0
    assert misses


def recompiled(function: Any) -> Any:
    code = function.__code__
    return code.replace(co_consts=(*code.co_consts, "edited"))


def swapped_out(kind: Any, patch: pytest.MonkeyPatch) -> None:
    function = vars(kind)["__call__"]
    patch.setattr(kind, "__call__", lambda *args, **kwargs: function(*args, **kwargs) * 1)


def edited(kind: Any, patch: pytest.MonkeyPatch) -> None:
    function = vars(kind)["__call__"]
    patch.setattr(function, "__code__", recompiled(function))


def with_a_constant(kind: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kind, "gain", Fraction(1, 2), raising=False)


def attention_of_mlx(_: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mx.fast, "scaled_dot_product_attention", lambda *a, **_: a[0])


def linear_of_mlx(_: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nn.Linear, "__call__", lambda self, x: x @ self["weight"].T)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "llava", "idefics3", "phi3_v", "pixtral"])
def test_code_of_the_tower_that_changes_is_noticed(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build(family)
    kind = next(
        type(module)
        for path, module in tiny.model.named_modules()
        if path.startswith(("vi", "model.vi")) and "__call__" in vars(type(module))
    )
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        first = attached.scope
        for change in (swapped_out, edited, with_a_constant, attention_of_mlx, linear_of_mlx):
            with monkeypatch.context() as patch:
                change(kind, patch)
                assert attached.scope != first, change
            assert attached.scope == first, change


@pytest.mark.parametrize(
    ("family", "owner", "name"),
    [
        ("gemma3", image_transforms, "resize"),
        ("idefics3", Image.Image, "resize"),
        ("qwen2_5_vl", Image, "fromarray"),
        ("llava", SiglipImageProcessorPil.__mro__[1], "preprocess"),
        ("dots_ocr", Image.Image, "convert"),
        ("paligemma", SiglipImageProcessorPil, "resample"),
        ("gemma3", SiglipImageProcessorPil.__mro__[1], "resize"),
    ],
)
def test_a_library_that_somebody_patches_is_noticed(
    family: str, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attached:
        first = attached.processor_side.settings.digest
        own = getattr(owner, name)
        monkeypatch.setattr(owner, name, brighter(own) if callable(own) else Image.Resampling.BOX)
        assert attached.processor_side.settings.digest != first
        monkeypatch.undo()
        assert attached.processor_side.settings.digest == first


class Gained(nn.Module):
    """A layer with a private setting, and state of its own."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self._gain = 1.0
        self._last = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._last = self.inner(*args, **kwargs)
        return self._last * self._gain if isinstance(self._last, mx.array) else self._last

    def set_gain(self, gain: float) -> None:
        self._gain = gain


@pytest.mark.parametrize(
    ("family", "path"),
    [
        ("qwen2_5_vl", "vision_tower.merger"),
        ("gemma3", "multi_modal_projector"),
        ("llava", "multi_modal_projector"),
        ("pixtral", "multi_modal_projector"),
        ("idefics3", "connector"),
    ],
)
def test_a_private_setting_of_a_module_is_noticed_and_its_state_is_not(family: str, path: str) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    owner, _, name = path.rpartition(".")
    holder = tiny.model
    for step in filter(None, owner.split(".")):
        holder = getattr(holder, step)
    layer = Gained(getattr(holder, name)).eval()
    setattr(holder, name, layer)
    asked(tiny, cache, A)
    assert asked(tiny, cache, A) == (1, 0)  # though it has state now
    layer.set_gain(0.5)
    assert asked(tiny, cache, A) == (0, 1)


@pytest.mark.parametrize("family", zoo.families())
def test_what_a_model_sets_of_itself_is_no_change(family: str) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache) as attached:
        scope = attached.scope
        assert not attached.opaque
        settings = attached.processor_side and attached.processor_side.settings.digest
        for images in ([A], [B], [A]):
            embedded(tiny, prepared(tiny, images))
            assert attached.scope == scope
            assert (attached.processor_side and attached.processor_side.settings.digest) == settings
    with attach(tiny.model, tiny.processor, cache) as again:
        assert again.scope == scope
        assert (again.processor_side and again.processor_side.settings.digest) == settings


def test_gemma4_unified_answers_about_an_image_after_a_prompt_of_text_alone() -> None:
    tiny, cache = zoo.build("gemma4_unified"), VisionFeatureCache()
    plain = [greedy(tiny, images) for images in ([A], [], [A])]
    with attach(tiny.model, tiny.processor, cache):
        assert [greedy(tiny, images) for images in ([A], [], [A])] == plain
    assert cache.info().hits == 1


def test_minicpmo_grows_its_position_table_for_an_image_that_is_larger() -> None:
    cache = VisionFeatureCache()
    tiny, twin = zoo.build("minicpmo"), zoo.build("minicpmo")
    for one in (tiny, twin):  # as many positions as the smaller picture needs
        one.model.resampler.max_size = SMALLEST
        one.model.resampler._set_2d_pos_cache(SMALLEST)
    with attach(tiny.model, tiny.processor, cache) as attached:
        scope = attached.scope
        for image in (A, B, A):
            assert same(embedded(tiny, prepared(tiny, [image])), embedded(twin, prepared(twin, [image])))
            assert attached.scope == scope
        assert tiny.model.resampler.max_size != SMALLEST
        assert (cache.info().hits, cache.info().misses) == (1, 2)
        tiny.model.resampler.pos_embed = tiny.model.resampler.pos_embed + 0.5
        assert attached.scope != scope  # that was somebody else
        assert asked_again(tiny, cache) == (0, 1)


def asked_again(tiny: zoo.Tiny, cache: VisionFeatureCache) -> tuple[int, int]:
    with cache.watch() as delta:
        embedded(tiny, prepared(tiny, [A]))
    return delta.hits, delta.misses


def quantised(model: Any) -> None:
    nn.quantize(model, group_size=32, class_predicate=_fits)


def _fits(path: str, module: Any) -> bool:
    weight = getattr(module, "weight", None)
    fits = hasattr(module, "to_quantized") and weight is not None and weight.ndim == 2
    return bool(fits and weight.shape[-1] % 32 == 0 and "language" not in path)


def reloaded(model: Any) -> None:
    model.load_weights([(name, mx.array(one)) for name, one in tree_flatten(model.parameters())])


def renewed(model: Any) -> None:
    model.load_weights([(name, one * 1.5) for name, one in tree_flatten(model.parameters())])


@pytest.mark.parametrize("family", ["mllama", "phi3_v", "qwen2_5_vl", "internvl_chat", "llava", "idefics2"])
def test_weights_that_change_change_the_scope_and_equal_ones_do_not(family: str) -> None:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        first = attached.scope
        reloaded(tiny.model)
        assert attached._fingerprint.changed()
        assert attached.scope == first
        assert not attached._fingerprint.changed()
        renewed(tiny.model)
        second = attached.scope
        quantised(tiny.model)
        assert len({first, second, attached.scope}) == 3


OPAQUE: tuple[Callable[[], Any], ...] = (
    lambda: (x for x in range(3)),
    threading.Lock,
    lambda: memoryview(b"ab"),
    threading.local,
)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("family", "kind"), [*zip(FAMILIES, 2 * OPAQUE, strict=False)])
def test_what_cannot_be_described_is_named_and_nothing_is_cached(
    family: str, kind: Callable[[], Any]
) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    plain = embedded(tiny, prepared(tiny, [A]))
    setattr(tiny.processor.image_processor, f"odd_{family}", kind())
    with (
        pytest.warns(UserWarning, match=f"nothing is cached: .*odd_{family} is a "),
        attach(tiny.model, tiny.processor, cache) as attached,
    ):
        for _ in range(2):
            assert same(embedded(tiny, prepared(tiny, [A])), plain)
        assert attached.opaque
        assert (cache.info().hits, cache.info().puts) == (0, 0)
        delattr(tiny.processor.image_processor, f"odd_{family}")  # and it is cached again at once
        for _ in range(2):
            assert same(embedded(tiny, prepared(tiny, [A])), plain)
        assert not attached.opaque
    assert (cache.info().hits, cache.info().puts) == (1, 1)
    assert asked(tiny, cache, A) == (1, 0)


def test_the_version_of_each_library_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, own = zoo.build("qwen2_5_vl"), fingerprint.version
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        scopes = {attached.scope}
        for other in ("mlx", "mlx-vlm", "transformers", "numpy", "pillow"):
            monkeypatch.setattr(fingerprint, "version", lambda n, o=other: f"{own(n)}{'+' * (n == o)}")
            scopes.add(attached.scope)
    assert len(scopes) == 6


EDITED = """
from fractions import Fraction
from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLImageProcessor

SHIFT = {shift}


def shifted(image):
    return image // SHIFT


class Mine(Qwen3VLImageProcessor):
    def _process_one(self, image, *args, **kwargs):
        return super()._process_one({how}, *args, **kwargs)
"""


def test_an_image_processor_that_autoreload_edits_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = InteractiveShell()
    monkeypatch.syspath_prepend(tmp_path)
    file, name = tmp_path / "edited_processor.py", "edited_processor"
    file.write_text(EDITED.format(shift=1, how="shifted(image)"))
    module = importlib.import_module(name)
    tiny, cache = zoo.build("qwen2_5_vl"), VisionFeatureCache()
    own = tiny.processor.image_processor
    own.__class__ = module.Mine
    reloader = ModuleReloader(shell)
    reloader.check(check_all=True)
    with attach(tiny.model, tiny.processor, cache):
        seen = [embedded(tiny, prepared(tiny, [A]))]
        for turn, (shift, how) in enumerate(((2, "shifted(image)"), (2, "255 - image")), 1):
            file.write_text(EDITED.format(shift=shift, how=how))
            later = file.stat().st_mtime + 10 * turn
            os.utime(file, (later, later))
            reloader.check(check_all=True)
            with cache.watch() as delta:
                seen.append(embedded(tiny, prepared(tiny, [A])))
            assert (delta.hits, delta.misses) == (0, 1)
    monkeypatch.delitem(sys.modules, name)
    assert same(seen[2], embedded(tiny, prepared(tiny, [A])))
    assert not same(seen[0], seen[1])
    assert not same(seen[1], seen[2])


def test_two_kernels_with_different_code_share_a_store_and_no_hit(tmp_path: Path) -> None:
    tiny = zoo.build("pixtral")
    maker = tiny.processor.image_processor
    own = type(maker)
    told = []
    for body in ("x + 1", "x + 2", "x + 1"):
        space: dict[str, Any] = {"Own": own}
        exec(  # noqa: S102  # as a notebook's cell
            f"class Mine(Own):\n    def touch(self, x):\n        return {body}", space
        )
        maker.__class__ = space["Mine"]
        cache = VisionFeatureCache(store=tmp_path)
        asked(tiny, cache, A)
        told.append(cache.info().store_hits)
        cache.close()
    assert told == [0, 0, 1]


def test_an_object_that_only_c_can_see_into_is_not_taken_for_another() -> None:
    locks = threading.Lock(), threading.Lock()
    with pytest.warns(UserWarning, match="a lock"):
        assert settings_digest(locks[0]) != settings_digest(locks[1])


PROCESS = """
import sys; sys.path.insert(0, {tests!r})
import zoo
from visioncache import VisionFeatureCache
from visioncache.vlm import attach, fingerprint
for family in {families!r}:
    tiny = zoo.build(family)
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        print(family, attached.scope, attached.processor_side.settings.digest)
"""


def test_two_processes_with_the_same_code_agree_whatever_the_order_of_hashes() -> None:
    families = FAMILIES[:5]
    told = []
    for seed, order in (("1", families), ("2", families[::-1])):
        script = PROCESS.format(tests=str(Path(zoo.__file__).parents[1]), families=order)
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        told.append(sorted(run.stdout.splitlines()))
    assert told[0] == told[1]
    assert len(told[0]) == len(families)


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "mistral3", "qwen2_5_vl"])
def test_another_kind_of_device_finds_nothing_in_a_shared_cache(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    with attach(tiny.model, tiny.processor, cache, prefixes=cache) as attached:
        greedy(tiny, [A])
        scopes = attached.scope, attached.prefixes.scope  # type: ignore[union-attr]
        with monkeypatch.context() as patch:
            patch.setattr(fingerprint, "device", lambda: "a chip")
            asked_again = cache.info()
            greedy(tiny, [A])
            assert cache.info().hits == asked_again.hits
            assert all(now.endswith(", a chip") for now in (attached.scope, attached.prefixes.scope))  # type: ignore[union-attr]
        greedy(tiny, [A])
        assert cache.info().hits > asked_again.hits
        assert (attached.scope, attached.prefixes.scope) == scopes  # type: ignore[union-attr]


READERS_LOADED = """
from PIL import Image
from visioncache import VisionFeatureCache
from visioncache.study import load_model
from visioncache.vlm import attach
with attach(*load_model(), VisionFeatureCache()) as attached:
    settings = attached.processor_side.settings
    before, few = settings.digest, len(Image.OPEN)
    Image.init()  # as the first WebP does, or a path of no file
    print(len(Image.OPEN) > few, settings.digest == before)
"""


def test_readers_that_pil_loads_later_leave_the_scope_as_it_is() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READERS_LOADED], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["True", "True"]
