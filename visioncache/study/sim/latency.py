"""Latency: seconds until the first token, by policy and capacity, with queues before the devices."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.study.sim.capacities import capacities_in, usual_capacities
from visioncache.study.sim.granularity import request_of
from visioncache.study.sim.mrc import By, asked_in
from visioncache.study.sim.optimum import reusable
from visioncache.study.sim.outcome import CapacityError
from visioncache.study.sim.policies import run_policy
from visioncache.study.sim.profile import Profile
from visioncache.study.sim.simulate import policy_names
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from visioncache.study.sim.outcome import Asked
    from visioncache.study.trace.traces import TraceLike

PERCENTILES = (50, 90, 99)


def ttft(
    trace: TraceLike,
    policies: str | Sequence[str] | None = None,
    capacities: int | str | Sequence[int | str] | None = None,
    by: By = "bytes",
    *,
    profile: Profile | None = None,
    devices: int = 1,
) -> pd.DataFrame:
    """Simulate the time to first token of every request, under each policy at each capacity.

    A request arrives at its time, waits for the first free device (first come, first served), is
    identified, has its missed images decoded, preprocessed and encoded (each look-up's own seconds), and
    is prefilled over all its tokens: the language model's own cache is not simulated. Columns: `policy`,
    `capacity`, `hit_ratio`, `ttft_p50`, `ttft_p90`, `ttft_p99`, `ttft_mean`, `waited` (mean seconds in
    the queue), `busy` (share of the devices' time). "none" is no cache, "infinite" one that never
    evicts.

    Args:
        trace: a trace with times, and requests, or sessions and turns.
        policies: as `replay` takes them.
        capacities: as `replay` takes them.
        by: whether capacity is in entries or in bytes.
        profile: what the model takes; by default Qwen2.5-VL-3B's as measured on an H100.
        devices: how many serve the one queue, with one cache.

    Raises:
        TraceError: a look-up has no time, or requests can't be told apart.
        ValueError: an unknown policy, a capacity that is none, or fewer devices than one.
    """
    if devices < 1:
        raise ValueError(f"devices={devices!r}: at least 1")
    names = policy_names(policies)
    profile = profile or Profile()
    asked = requests(trace)
    if asked["time"].isna().any():
        raise TraceError("a time to first token needs every look-up's time; some have none")
    if not asked["seconds"].any():
        raise TraceError("no look-up tells what a miss costs in seconds: every policy would look alike")
    asked = asked.sort_values("time", kind="stable", ignore_index=True)
    if isinstance(capacities, (int, str)):
        capacities = [capacities]
    bounds = usual_capacities(asked, by) if capacities is None else capacities_in(capacities, by)
    which = request_of(asked)
    run = asked_in(asked, by)
    again = reusable(run.keys)
    cells: list[tuple[str, int, NDArray[np.bool_] | None]] = [
        (name, capacity, _hits(name, run, capacity)) for name in names for capacity in bounds
    ]
    limits = {"none": np.zeros_like(again), "infinite": again}
    cells += [(name, capacity, hits) for name, hits in limits.items() for capacity in bounds]
    rows = []
    for name, capacity, hits in cells:
        row: dict[str, object] = {"policy": name, "capacity": capacity}
        if hits is not None:
            row |= {"hit_ratio": float(hits.mean()), **_summary(asked, which, hits, profile, devices)}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.attrs.update(about(asked, by=by, policies=names, profile=profile.name, devices=devices))
    return table


def request_times(
    asked: pd.DataFrame, which: NDArray[np.int64], hits: NDArray[np.bool_], profile: Profile, devices: int = 1
) -> pd.DataFrame:
    """Give every request's `arrived`, `waited`, `served` and `ttft`, in seconds.

    Args:
        asked: look-ups in order of time, as `requests` gives them.
        which: the request of each look-up, as `request_of` gives them.
        hits: which look-ups hit.
        profile: what the model takes.
        devices: how many serve the queue.
    """
    count = int(which.max()) + 1
    arrived = np.full(count, np.inf)
    np.minimum.at(arrived, which, asked["time"].to_numpy(np.float64))
    encode = np.bincount(which, np.where(hits, 0.0, asked["seconds"]), count)
    images = np.bincount(which, minlength=count)
    tokens = np.bincount(which, asked["tokens"].fillna(0.0), count) + profile.text_tokens
    served = encode + images * profile.key_s + profile.prefill_fixed_s + profile.prefill_s_a_token * tokens
    free = [0.0 if not count else float(arrived.min())] * devices
    waited = np.zeros(count)
    for request in np.argsort(arrived, kind="stable").tolist():
        begun = max(arrived[request], heapq.heappop(free))
        waited[request] = begun - arrived[request]
        heapq.heappush(free, begun + served[request] + profile.answer_s)
    return pd.DataFrame({"arrived": arrived, "waited": waited, "served": served, "ttft": waited + served})


def _hits(name: str, asked: Asked, capacity: int) -> NDArray[np.bool_] | None:
    try:
        return run_policy(name, asked, capacity).hits
    except CapacityError:
        return None


def _summary(
    asked: pd.DataFrame, which: NDArray[np.int64], hits: NDArray[np.bool_], profile: Profile, devices: int
) -> dict[str, float]:
    times = request_times(asked, which, hits, profile, devices)
    at = np.percentile(times["ttft"], PERCENTILES)
    until = float((times["arrived"] + times["ttft"]).max() - times["arrived"].min()) or 1.0
    busy = float((times["served"] + profile.answer_s).sum()) / (devices * (until + profile.answer_s))
    return {
        **{f"ttft_p{p}": float(seconds) for p, seconds in zip(PERCENTILES, at, strict=True)},
        "ttft_mean": float(times["ttft"].mean()),
        "waited": float(times["waited"].mean()),
        "busy": busy,
    }
