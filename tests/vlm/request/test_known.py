"""Libraries' programs are described once, and anew when anything in them is another object."""

from __future__ import annotations

import functools
import sys
import types
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import pytest
import zoo
from mlx_vlm.models import base
from mlx_vlm.models.llava import vision

from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.patching.classes import method_taken
from visioncache.vlm.scope import known
from visioncache.vlm.scope.anatomy import Anatomy

if TYPE_CHECKING:
    from collections.abc import Callable

KIND = vision.Attention


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The programs that are described, rather than known."""
    seen: list[Any] = []
    describe = Anatomy._apart

    def apart(self: Anatomy, roots: Any) -> Anatomy:
        seen.append(roots)
        return describe(self, roots)

    monkeypatch.setattr(Anatomy, "_apart", apart)
    return seen


def digest(value: Any = KIND) -> str:
    anatomy = Anatomy()
    anatomy.add("it", value)
    return anatomy.digest


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3", "molmo"])
def test_the_code_of_a_model_that_is_attached_again_is_known(family: str, described: list[Any]) -> None:
    tiny = zoo.build(family)
    cache = VisionFeatureCache()
    for _ in range(2):  # transformers imports parts of itself when they are used first
        with attach(tiny.model, tiny.processor, cache) as first:
            scope = first.scope
    described.clear()
    with attach(tiny.model, tiny.processor, cache) as second:
        assert second.scope == scope
    assert not described


def test_a_known_digest_is_that_of_a_description_from_scratch(described: list[Any]) -> None:
    first = digest()
    assert digest() == first
    known._known.clear()
    described.clear()
    assert digest() == first
    assert len(described) == 1


def another(self: Any, x: Any, mask: Any = None) -> Any:
    return x


def method(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KIND, "__call__", another)


def inherited(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KIND, "added", another, raising=False)


def code(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KIND.__call__, "__code__", another.__code__)


def defaults(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KIND.__call__, "__defaults__", (3,))


def keyword_defaults(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KIND.__call__, "__kwdefaults__", {"mask": 3})


def read_global(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vision, "mx", types.SimpleNamespace(fast=mx.fast))


def function_of_a_library(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys.modules["mlx.nn.layers.base"], "added", another, raising=False)


def method_of_a_library(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys.modules["mlx.nn.layers.base"].Module, "__getattr__", another)


@pytest.mark.parametrize(
    "change",
    [
        method,
        inherited,
        code,
        defaults,
        keyword_defaults,
        read_global,
        function_of_a_library,
        method_of_a_library,
    ],
)
def test_code_that_was_changed_is_described_anew(change: Callable[[pytest.MonkeyPatch], None]) -> None:
    before = digest()
    with pytest.MonkeyPatch.context() as patch:
        change(patch)
        changed = digest()
        assert changed != before
        known._known.clear()
        assert digest() == changed
    assert digest() == before


def test_another_base_of_a_class_is_noticed() -> None:
    before, own = digest(), KIND.__bases__
    KIND.__bases__ = (type("Between", own, {"scale": 2}),)
    try:
        assert digest() != before
    finally:
        KIND.__bases__ = own
    assert digest() == before


def test_a_module_that_can_be_imported_by_now_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def f(x):\n    import not_there_yet\n    return not_there_yet.gain"
    function = types.FunctionType(compile(source, base.__file__, "exec").co_consts[0], vars(base))
    function.__module__ = base.__name__
    before = digest(function)
    module = types.ModuleType("not_there_yet")
    module.gain = 2.0
    monkeypatch.setitem(sys.modules, "not_there_yet", module)
    assert digest(function) != before
    monkeypatch.delitem(sys.modules, "not_there_yet")
    assert digest(function) == before


def test_a_property_that_computes_another_value_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    held = functools.cached_property(lambda self: 1)
    held.__set_name__(KIND, "held")
    monkeypatch.setattr(KIND, "held", held, raising=False)
    before = digest()
    monkeypatch.setattr(held, "func", lambda self: 2)
    assert digest() != before


@pytest.mark.parametrize("name", ["__call__", "parameters"])
def test_a_method_that_is_taken_is_described_as_it_was(name: str, described: list[Any]) -> None:
    before = digest()
    described.clear()
    with method_taken(KIND, name, lambda original, *args: original(*args)):
        assert digest() == before
        assert not described
        known._known.clear()
        assert digest() == before
    assert digest() == before


def test_programs_that_hold_what_a_user_made_are_not_kept() -> None:
    class Own(KIND):
        scale = np.ones(3)

    kept = len(known._known)
    before = digest(Own)
    assert len(known._known) == kept
    Own.scale[0] = 2
    assert digest(Own) != before
