"""Code that looks its settings up in other ways: they are part of the scope, or nothing is cached."""

from __future__ import annotations

import configparser
import functools
import glob
import io
import itertools
import linecache
import os
import random
import sys
import warnings
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from gains import WHERE, Gained, put
from harness import asked, embedded, prepared
from mlx import nn
from numpy import load as numbers_in
from PIL import Image
from transformers import image_transforms
from twins import Scene, assert_alike

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.patching import mlx_vlm as hooks
from visioncache.vlm.patching.instances import class_of
from visioncache.vlm.scope import programs
from visioncache.vlm.scope.described import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, _ = zoo.photos()
GAIN = 1.0
NAME = "VISIONCACHE_TEST_GAIN"


class Lazy(nn.Module):
    """A module that sets a private setting of its own, unless somebody did."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self._gain = inner, None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._gain is None:
            self._gain = 1.0
        return self.inner(*args, **kwargs) * self._gain


class FromFile(nn.Module):
    """Multiply by a number in a file, which a method reads that only a function asks for."""

    def __init__(self, inner: Any, path: Path) -> None:
        super().__init__()
        self.inner, self.path = inner, path

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs) * gain_of(self)

    def gain_in_file(self) -> float:
        return float(np.load(self.path).flat[0])


def gain_of(module: FromFile) -> float:
    return module.gain_in_file()


def by_globals() -> float:
    return float(globals()["GAIN"])


def by_the_modules_name() -> float:
    return float(sys.modules[__name__].GAIN)  # type: ignore[attr-defined]


def by_evaluating() -> float:
    return float(eval("GAIN"))  # noqa: S307  # as a user might


def by_the_environment() -> float:
    return float(os.getenv(NAME, "1"))


def by_the_environment_inside() -> float:
    from os import getenv

    return float(getenv(NAME, "1"))


WAYS: list[Callable[[], float]] = [
    by_globals, by_the_modules_name, by_evaluating, by_the_environment, by_the_environment_inside,
]  # fmt: skip


STATE: dict[str, Any] = {"calls": 0, "gain": 1.0}
MEMO: dict[str, float] = {}
ONCE: float | None = None


def by_a_table_with_a_counter() -> float:
    STATE["calls"] += 1
    return float(STATE["gain"])


def by_a_memo() -> float:
    if "gain" not in MEMO:
        MEMO["gain"] = 1.0
    return MEMO["gain"]


def by_a_global_that_is_set_once() -> float:
    global ONCE  # noqa: PLW0603
    if ONCE is None:
        ONCE = 1.0
    return ONCE


STATES = [by_a_table_with_a_counter, by_a_memo, by_a_global_that_is_set_once]


def asked_while_set(scene: Scene) -> list[Any]:
    """Ask twice while somebody's own numbers stand in the globals."""
    with pytest.MonkeyPatch.context() as patch:
        for table in (STATE, MEMO):
            patch.setitem(table, "gain", 0.5)
        patch.setitem(globals(), "ONCE", 0.5)
        return [scene.ask(A), scene.ask(A)]


@pytest.mark.parametrize("way", STATES, ids=lambda way: way.__name__)
@pytest.mark.parametrize("family", WHERE)
def test_what_code_keeps_in_globals_counts_when_somebody_sets_it(
    family: str, way: Callable[[], float]
) -> None:
    def play(scene: Scene) -> list[Any]:
        put(scene.model, WHERE[family], lambda inner: Gained(inner, way))
        answers = [scene.ask(A), scene.ask(A), scene.ask(A)]
        if scene.cache is not None:
            assert scene.cache.info().hits == 2
        return [*answers, *asked_while_set(scene), scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("way", STATES, ids=lambda way: way.__name__)
@pytest.mark.parametrize("family", ["aya_vision", "gemma3", "llava", "paligemma", "qwen2_5_vl"])
def test_what_a_processors_code_keeps_in_globals_counts_when_somebody_sets_it(
    family: str, way: Callable[[], float]
) -> None:
    def play(scene: Scene) -> list[Any]:
        maker = scene.processor.image_processor
        kind = type(maker)

        def preprocess(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
            own = [image.point(lambda x: int(x * way())) for image in images]
            return kind.__call__(self, own, *args, **kwargs)

        maker.__class__ = type(kind.__name__, (kind,), {"__call__": preprocess, "__module__": __name__})
        answers = [scene.ask(A), scene.ask(A), scene.ask(A)]
        return [*answers, *asked_while_set(scene), scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", WHERE)
def test_what_code_keeps_in_a_closure_counts_when_somebody_sets_it(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        gain: float | None = None
        state, log = {"calls": 0, "gain": 1.0}, [1.0]

        def way() -> float:
            nonlocal gain
            if gain is None:
                gain = 1.0
            state["calls"] += 1
            return gain * state["gain"] * log[0]

        put(scene.model, WHERE[family], lambda inner: Gained(inner, way))
        answers = [scene.ask(A), scene.ask(A), scene.ask(A)]
        if scene.cache is not None:
            assert scene.cache.info().hits == 2
        gain = 0.5
        answers += [scene.ask(A), scene.ask(A)]
        state["gain"] = 0.5
        answers += [scene.ask(A), scene.ask(A)]
        log[0] = 0.5
        return [*answers, scene.ask(A), scene.ask(A)]

    assert_alike(family, play)


def write_gain(folder: Path, gain: Any) -> None:
    """Write a number in every form that `counters` read."""
    number = float(np.ravel(gain)[0])
    np.save(folder / "gain.npy", gain)
    (folder / "gain.txt").write_text(f"{number}\n")
    (folder / "gain.ini").write_text(f"[all]\ngain = {number}{' ' * np.size(gain)}\n")


def counters(folder: Path) -> dict[str, Callable[[], float]]:
    """Functions that return another number each time, or one that may be another at any time."""
    count, table, numbers = 0.0, {"calls": 0.0}, np.random.default_rng(7)
    cycle, python = itertools.cycle([1.0, 0.5]), random.Random(7)
    made = (0.5**n for n in range(1000))
    path = folder / "gain.npy"
    ring, queue = deque([1.0, 0.5]), deque(0.5**n for n in range(1000))
    partly = functools.partial(np.load, path)

    class Counter:
        calls = 0.0

    counter = Counter()

    def by_a_variable() -> float:
        nonlocal count
        count += 1
        return count

    def by_a_table() -> float:
        table["calls"] += 1
        return table["calls"]

    def by_an_attribute() -> float:
        counter.calls = counter.calls + 1
        return counter.calls

    def by_another_function() -> float:
        def called() -> None:
            counter.calls += 1

        called()
        return float(getattr(counter, "calls"))  # noqa: B009  # as a user might

    def by_a_ring() -> float:
        ring.rotate(1)
        return ring[0]

    def by_opening() -> float:
        with open(path, "rb") as file:  # noqa: PTH123  # as a user might
            return float(np.frombuffer(file.read()[-8:])[0])

    def by_lines() -> float:
        linecache.checkcache()
        return float(linecache.getline(str(folder / "gain.txt"), 1))

    def by_a_table_of_settings() -> float:
        settings = configparser.ConfigParser()
        settings.read(folder / "gain.ini")
        return float(settings["all"]["gain"])

    return {
        "variable": by_a_variable,
        "table": by_a_table,
        "attribute": by_an_attribute,
        "another function": by_another_function,
        "a ring": by_a_ring,
        "a queue": lambda: queue.popleft(),  # noqa: PLW0108  # code of a user's
        "cycle": lambda: next(cycle),
        "generator": lambda: next(made),
        "numpy's numbers": lambda: float(numbers.random()),
        "numpy's own": lambda: float(np.random.random()),  # noqa: NPY002
        "python's": lambda: float(python.random()),
        "mlx's": lambda: float(mx.random.uniform().item()),
        "a file": by_opening,
        "a file of numpy's": lambda: float(np.load(path).flat[0]),
        "a file's bytes": lambda: float(np.frombuffer(path.read_bytes()[-8:])[0]),
        "a file's size": lambda: float(path.stat().st_size),
        "a file by another name": lambda: float(numbers_in(path).flat[0]),
        "a file by a partial": lambda: float(partly().flat[0]),
        "a file unbuffered": lambda: float(np.frombuffer(io.FileIO(path).readall()[-8:])[0]),
        "a file's lines": by_lines,
        "a file of settings": by_a_table_of_settings,
        "a folder": lambda: float(len(glob.glob(str(folder / "*")))),  # noqa: PTH207  # as a user might
    }


@pytest.mark.filterwarnings("ignore:nothing is cached")
@pytest.mark.parametrize("how", counters(Path()))
@pytest.mark.parametrize("family", WHERE)
def test_what_is_another_each_time_is_answered_as_without_a_cache(
    family: str, how: str, tmp_path: Path
) -> None:
    def play(scene: Scene) -> list[Any]:
        (tmp_path / "other.npy").unlink(missing_ok=True)
        write_gain(tmp_path, 1.0)
        np.random.seed(7)  # noqa: NPY002
        mx.random.seed(7)
        way = counters(tmp_path)[how]
        scene.detach()
        put(scene.model, WHERE[family], lambda inner: Gained(inner, way))
        scene.attach()
        answers = [scene.ask(A), scene.ask(A)]
        np.save(tmp_path / "other.npy", 1.0)
        write_gain(tmp_path, np.ones(2) / 2)
        return [*answers, scene.ask(A), scene.ask(A)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_alike(family, play)


@pytest.mark.filterwarnings("ignore:nothing is cached")
@pytest.mark.parametrize("family", WHERE)
def test_a_method_that_a_function_asks_for_is_read_too(family: str, tmp_path: Path) -> None:
    def play(scene: Scene) -> list[Any]:
        write_gain(tmp_path, 1.0)
        put(scene.model, WHERE[family], lambda inner: FromFile(inner, tmp_path / "gain.npy"))
        answers = [scene.ask(A), scene.ask(A)]
        write_gain(tmp_path, 0.5)
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.filterwarnings("ignore:nothing is cached")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("family", WHERE)
def test_what_code_looks_up_by_name_counts(family: str, way: Callable[[], float]) -> None:
    def play(scene: Scene) -> list[Any]:
        put(scene.model, WHERE[family], lambda inner: Gained(inner, way))
        answers = [scene.ask(A), scene.ask(A)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(globals(), "GAIN", 0.5)
            patch.setenv(NAME, "0.5")
            answers += [scene.ask(A), scene.ask(A)]
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


@pytest.mark.parametrize("family", WHERE)
def test_code_that_looks_globals_up_by_name_is_named_and_nothing_is_cached(family: str) -> None:
    tiny, cache = zoo.build(family), VisionFeatureCache()
    put(tiny.model, WHERE[family], lambda inner: Gained(inner, by_globals))
    warn_once.cache_clear()
    with (
        pytest.warns(UserWarning, match="nothing is cached: .*globals is read by a function"),
        attach(tiny.model, tiny.processor, cache) as attached,
    ):
        assert attached.opaque
    assert asked(tiny, cache, A) == (0, 0)


@pytest.mark.parametrize("family", WHERE)
def test_a_private_setting_that_a_module_sets_itself_counts_when_somebody_sets_it(family: str) -> None:
    def play(scene: Scene) -> list[Any]:
        layer = put(scene.model, WHERE[family], Lazy)
        answers = [scene.ask(A), scene.ask(A)]
        if scene.cache is not None:
            assert scene.cache.info().hits == 1
        layer._gain = 0.5
        answers += [scene.ask(A), scene.ask(A)]
        layer._gain = 1.0
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


def halved(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs) * 0.5


def a_partial_method(own: Any) -> Any:
    return functools.partialmethod(lambda self, *args, **kwargs: halved(own, self, *args, **kwargs))


def a_described_one(own: Any) -> Any:
    return functools.singledispatchmethod(lambda self, *args, **kwargs: halved(own, self, *args, **kwargs))


@pytest.mark.filterwarnings("ignore:an image is not cached")
@pytest.mark.parametrize("made", [a_partial_method, a_described_one])
@pytest.mark.parametrize("family", ["aya_vision", "gemma3", "idefics3", "llava", "paligemma"])
def test_what_stands_for_a_method_in_a_librarys_class_counts(family: str, made: Callable[[Any], Any]) -> None:
    def play(scene: Scene) -> list[Any]:
        kinds = type(scene.processor.image_processor).__mro__
        kind = next(k for k in kinds if "rescale" in vars(k) and k.__module__.startswith("transformers"))
        answers = [scene.ask(A), scene.ask(A)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "rescale", made(vars(kind)["rescale"]))
            answers += [scene.ask(A), scene.ask(A), scene.ask(B)]
        return [*answers, scene.ask(A)]

    assert_alike(family, play)


class Halving:
    """Something callable of a user's."""

    def __init__(self, own: Callable[..., Any]) -> None:
        self.own = own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return halved(self.own, *args, **kwargs)


def a_partial(own: Any) -> Any:
    return functools.partial(halved, own)


def a_compiled_one(own: Any) -> Any:
    return mx.compile(lambda *args: halved(own, *args))


@pytest.mark.parametrize("made", [a_partial, Halving, a_compiled_one, functools.lru_cache])
@pytest.mark.parametrize(
    ("owner", "name"), [(image_transforms, "resize"), (mx, "matmul"), (mx.fast, "layer_norm"), (nn, "gelu")]
)
def test_what_stands_for_a_librarys_function_in_its_module_counts(
    owner: Any, name: str, made: Callable[[Any], Any]
) -> None:
    tiny = zoo.build("gemma3")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:

        def scope() -> str:
            settings = attached.processor_side.settings  # type: ignore[union-attr]
            return f"{attached.scope}/{settings.digest}"

        first = scope()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, made(getattr(owner, name)))
            assert scope() != first
            assert not attached.opaque
        assert scope() == first


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "llava", "phi3_v", "qwen2_5_vl"])
def test_methods_that_nothing_asks_for_may_read_files(family: str) -> None:
    tiny = zoo.build(family)

    class Own(type(tiny.processor)):  # type: ignore[misc]
        def fetch(self, path: str) -> Any:
            return Image.open(path)

        def table(self, path: str) -> Any:
            with open(path) as file:  # noqa: PTH123
                return file.read()

    tiny.processor.__class__ = Own
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert not attached.opaque
        for _ in range(2):
            embedded(tiny, prepared(tiny, [zoo.photos()[0]]))
        assert attached.cache.info().hits == 1


def test_every_function_of_mlx_vlm_that_is_taken_is_known_as_ours() -> None:
    assert {name for _, name, _ in hooks._HOOKS} == {*programs._TAKEN}


@pytest.mark.parametrize("family", WHERE)
def test_what_a_method_in_a_librarys_class_computes_the_name_of_counts(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(scene: Scene) -> list[Any]:
        layer: Any = scene.model
        for name in WHERE[family].split("."):
            layer = layer[name]
        kind = class_of(layer)
        own = kind.__call__

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            return own(self, *args, **kwargs) * getattr(self, "_" + "gain"[:4])

        with monkeypatch.context() as patch:
            patch.setattr(kind, "__call__", call)
            layer._gain = 1.0
            answers = [scene.ask(A)]
            layer._gain = 0.5
            return [*answers, scene.ask(A)]

    assert_alike(family, play)
