"""Random steps, against an identical twin without a cache."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING

import fuzz

if TYPE_CHECKING:
    import pytest

STEPS = 2_000


def test_random_steps_differ_in_nothing_from_a_twin_without_a_cache(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts: Counter[str] = Counter()
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [difference for difference in fuzz.fuzz(STEPS, counts=counts) if difference is not None]
    with capsys.disabled():
        print(f"\n{fuzz.summary(counts, time.monotonic() - start)}")  # noqa: T201  # how many were compared
    assert not found, "\n\n".join(map(str, found))
    assert counts["hits"] > STEPS // 10
    assert counts["reused"] > STEPS // 10
    assert len([name for name in fuzz.zoo.families() if counts[name]]) >= 20


def test_an_episode_is_the_same_whenever_it_is_drawn() -> None:
    assert [str(fuzz.plan_of(seed)) for seed in range(50)] == [str(fuzz.plan_of(seed)) for seed in range(50)]


def test_the_fewest_steps_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only an attachment after a change of weights would differ, those two steps are left."""
    steps = ("ask_text", "scale_weights", "setting", "ask_text", "attach_again", "ask_text")
    plan = fuzz.replace(fuzz.plan_of(3), steps=tuple(fuzz.Step(name) for name in steps))

    def play(plan: fuzz.Plan) -> fuzz.Difference | None:
        names = [step.name for step in plan.steps]
        if "scale_weights" in names and "attach_again" in names[names.index("scale_weights") :]:
            return fuzz.Difference(plan, names.index("attach_again"), "other weights")
        return None

    monkeypatch.setattr(fuzz, "play", play)
    found = play(plan)
    assert found is not None
    assert [step.name for step in fuzz.fewest(found).plan.steps] == ["scale_weights", "attach_again"]
