"""Seconds of stages: a thread's own, whatever other threads do meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from visioncache.vlm.timing import Stages


def test_a_threads_seconds_are_its_own_while_another_works_and_the_totals_are_both() -> None:
    now = 0.0
    stages = Stages(clock=lambda: now)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        long = stages.measure("tower")
        short = stages.measure("decode", times=2)
        one.submit(long.__enter__).result()
        now = 1.0
        other.submit(short.__enter__).result()
        now = 3.0
        other.submit(short.__exit__, None, None, None).result()
        now = 10.0
        one.submit(long.__exit__, None, None, None).result()
        assert one.submit(stages.spent_here).result() == 10.0
        assert other.submit(stages.spent_here).result() == 2.0
    assert stages.spent_here() == 0.0
    totals = stages.totals()
    assert totals.seconds == {"tower": 10.0, "decode": 2.0}
    assert totals.counts == {"tower": 1, "decode": 2}


def test_a_stage_inside_of_another_is_taken_off_it_on_its_own_thread_alone() -> None:
    now = 0.0
    stages = Stages(clock=lambda: now)
    with stages.measure("preprocess"):
        now = 2.0
        with ThreadPoolExecutor(1) as other, stages.measure("decode"):
            elsewhere = stages.measure("tower")
            other.submit(elsewhere.__enter__).result()
            now = 5.0
            other.submit(elsewhere.__exit__, None, None, None).result()
        now = 6.0
    assert stages.totals().seconds == {"preprocess": pytest.approx(3.0), "decode": 3.0, "tower": 3.0}
    assert stages.spent_here() == 6.0
