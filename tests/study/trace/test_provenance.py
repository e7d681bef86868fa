"""Provenance: every table says which version, trace, seed and parameters it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import visioncache
from visioncache.study import (
    Tier,
    compare_granularity,
    fit,
    miss_ratio_curve,
    replay,
    simulate_tiers,
    ttft,
    workload,
)
from visioncache.study.sim.gains import granularity_gains, policy_gains
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import trace_digest

if TYPE_CHECKING:
    from collections.abc import Callable

TRACE = workload("album", 7, turns=6)

TABLES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "replay": (lambda: replay(TRACE, "lru", 10**7), {"by", "policies", "capacities"}),
    "ttft": (lambda: ttft(TRACE, "lru", 10**7), {"by", "policies", "profile", "devices"}),
    "curve": (lambda: miss_ratio_curve(TRACE), {"by", "sample", "seed"}),
    "granularity": (lambda: compare_granularity(TRACE), {"by", "policies", "capacities"}),
    "tiers": (lambda: simulate_tiers(TRACE, [Tier("memory")]), {"tiers", "prefixes", "warm", "prefetch"}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_which_version_trace_seed_and_parameters_it_comes_from(name: str) -> None:
    made, parameters = TABLES[name]
    told = made().attrs
    assert told["visioncache"] == visioncache.__version__
    assert told["trace"] == trace_digest(requests(TRACE))
    assert told["made"] == "album(seed=7, turns=6)"
    assert parameters <= set(told)


def test_tables_over_many_traces_name_each() -> None:
    traces = {"album": [TRACE, workload("album", 8, turns=6)]}
    for table in (policy_gains(traces, ["gdsf"], shares=[0.5]), granularity_gains(traces, [0.5])):
        assert table.attrs["visioncache"] == visioncache.__version__
        assert table.attrs["traces"] == {"album": [trace_digest(requests(one)) for one in traces["album"]]}
        assert table.attrs["shares"] == [0.5]


def test_a_fitted_trace_says_how_it_was_made() -> None:
    made = fit(TRACE).generate(3)
    assert replay(made, "lru", 10**7).attrs["made"] == "fitted(seed=3, sessions=1)"
