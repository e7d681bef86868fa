"""A hit is credited what an encode would have cost by then, and not what the slow first one took."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from visioncache import Key, VisionFeatureCache
from visioncache.costs import KEPT, Costs


def encoded(cache: VisionFeatureCache, name: str, seconds: float, tokens: int, scope: str = "model") -> Key:
    """Put an image as `attach` does: in a scope, with its seconds and tokens."""
    key = Key.from_source(name).scoped(scope)
    cache.put(key, mx.zeros(tokens), seconds=seconds, meta={"tokens": tokens})
    return key


def saved_by(cache: VisionFeatureCache, key: Key) -> float:
    """Return what one hit is credited."""
    with cache.watch() as delta:
        cache.get(key)
    assert cache.events[-1].seconds == pytest.approx(delta.seconds_saved)
    return delta.seconds_saved


def test_a_hit_on_the_first_image_is_credited_a_warm_encode() -> None:
    cache = VisionFeatureCache()
    first = encoded(cache, "a", 0.70, 100)
    assert saved_by(cache, first) == pytest.approx(0.70)  # nothing better is known yet
    encoded(cache, "b", 0.20, 100)
    encoded(cache, "c", 0.60, 200)
    assert saved_by(cache, first) == pytest.approx(0.25)  # the median of 2 and 3 ms a token
    assert cache.entry(first).seconds == 0.70  # what it took stays what it took


def test_the_credit_is_in_proportion_to_tokens() -> None:
    cache = VisionFeatureCache()
    keys = [encoded(cache, str(n), 0.7 if n == 0 else n * 0.1, 10 * n or 30) for n in range(4)]
    assert [saved_by(cache, key) for key in keys] == pytest.approx([0.3, 0.1, 0.2, 0.3])


def test_scopes_and_kinds_learn_apart() -> None:
    cache = VisionFeatureCache()
    for scope, factor in (("fast", 1), ("slow", 10)):
        for n in range(3):
            encoded(cache, str(n), 0.1 * factor, 10, scope)
    prefix = Key.from_source("prefix").scoped("fast")
    cache.put(prefix, np.zeros(4), seconds=5.0, meta={"kind": "prefix", "tokens": 10})
    assert saved_by(cache, Key.from_source("0").scoped("fast")) == pytest.approx(0.1)
    assert saved_by(cache, Key.from_source("0").scoped("slow")) == pytest.approx(1.0)
    assert saved_by(cache, prefix) == 5.0


@pytest.mark.parametrize("tokens", [None, 0, -3, float("nan"), float("inf"), "12", np.array([1, 2])])
def test_without_a_count_of_tokens_a_hit_is_credited_its_own_encode(tokens: object) -> None:
    cache = VisionFeatureCache()
    for name in "abc":
        cache.put(name, np.zeros(4), seconds=0.5, meta={"tokens": tokens})
    with cache.watch() as delta:
        cache.get("a")
    assert delta.seconds_saved == 0.5


def test_one_slow_encode_among_many_changes_little() -> None:
    costs, key, meta = Costs(), Key.from_source("a").scoped("s"), {"tokens": np.int32(10)}
    for seconds in (9.0, 0.1, 0.1, 30.0, 0.1):
        costs.learn(key, seconds, meta)
    assert costs.estimate(key, 9.0, meta) == pytest.approx(0.1)
    for _ in range(KEPT):  # a machine that became slower is believed in time
        costs.learn(key, 0.4, meta)
    assert costs.estimate(key, 9.0, meta) == pytest.approx(0.4)


def test_what_a_store_answers_is_credited_in_the_same_way(tmp_path: object) -> None:
    cache = VisionFeatureCache(3, store=str(tmp_path))
    key = encoded(cache, "a", 0.70, 100)
    encoded(cache, "b", 0.20, 100)
    encoded(cache, "c", 0.20, 100)
    assert cache.flush(10)
    cache.trim("1 MB")
    with cache.watch() as delta:
        cache.get(key)
    assert (delta.store_hits, delta.seconds_saved) == (1, pytest.approx(0.20))
    cache.close()
