"""An entry an image, or an entry a request: what that choice alone does to the encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.study.sim.capacities import capacities_in, usual_capacities
from visioncache.study.sim.mrc import asked_in
from visioncache.study.sim.policies import run_policy
from visioncache.study.trace.batches import UNTOLD, request_numbers
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import about

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from visioncache.study.sim.mrc import By
    from visioncache.study.trace.traces import TraceLike


def by_request(trace: TraceLike) -> pd.DataFrame:
    """The same trace as a cache sees it that keeps one entry for all images of a request.

    Its key is the images in their order, so a chat that adds an image asks for something new. Besides a
    trace's columns, `images` is how many it encodes when it misses, and each has a `batch` of its own. See
    `request_of`.

    Raises:
        TraceError: the trace has neither requests, nor sessions and turns, to tell them apart.
    """
    asked = requests(trace)
    which = request_of(asked)
    grouped = asked.groupby(which, sort=False)
    return pd.DataFrame(
        {
            "time": grouped["time"].first(),
            "session": grouped["session"].first(),
            "turn": grouped["turn"].first(),
            "key": grouped["key"].agg("+".join),
            "nbytes": grouped["nbytes"].sum(),
            "tokens": grouped["tokens"].sum(),
            "seconds": grouped["seconds"].sum(),
            "outcome": None,
            "images": grouped.size(),
            "batch": np.arange(len(grouped)),
        }
    ).reset_index(drop=True)


def by_tile(trace: TraceLike, tokens: int = 256) -> pd.DataFrame:
    """The same trace as a cache sees it that keeps an entry for each tile of so many tokens of an image.

    Bytes and seconds are shared out by tokens; the last tile of an image may be smaller. An image without
    tokens is one tile.
    """
    if tokens < 1:
        raise ValueError(f"tokens={tokens!r}: at least 1")
    asked = requests(trace)
    whole = asked["tokens"].fillna(0).to_numpy(np.int64)
    tiles = np.maximum(-(-whole // tokens), 1)
    at = np.repeat(np.arange(len(asked)), tiles)
    tile = np.arange(len(at)) - np.repeat(np.cumsum(tiles) - tiles, tiles)
    of = np.maximum(whole, 1)[at]
    start, end = np.minimum(tile * tokens, of), np.minimum((tile + 1) * tokens, of)
    last = np.where(whole[at] > 0, end, of)
    cut = asked.iloc[at].reset_index(drop=True)
    nbytes = cut["nbytes"].to_numpy(np.int64)
    return cut.assign(
        key=[f"{key}/{number}" for key, number in zip(cut["key"], tile.tolist(), strict=True)],
        nbytes=nbytes * last // of - nbytes * start // of,
        tokens=last - start,
        seconds=cut["seconds"] * (last - start) / of,
    )


def request_of(asked: pd.DataFrame) -> NDArray[np.int64]:
    """Number the requests of look-ups, from 0 in order of appearance; see `request_numbers`.

    Raises:
        TraceError: the trace has neither requests, nor sessions and turns, to tell them apart.
    """
    numbers = request_numbers(asked)
    if (numbers == UNTOLD).any():
        raise TraceError(
            "requests are told apart by 'request', or by 'session' and 'turn'; some look-ups have neither"
        )
    return numbers


def compare_granularity(
    trace: TraceLike,
    capacities: Sequence[int | str] | None = None,
    by: By = "bytes",
    *,
    policy: str = "visioncache",
) -> pd.DataFrame:
    """Compare what a policy encodes, at the same capacities, with an entry an image and an entry a request.

    Columns: `granularity` ("image" or "request"), `capacity`, `encodes` (images through the vision
    tower), `encode_seconds`, `hit_ratio` (of images: those that were not encoded), `evictions`.

    Args:
        trace: a trace whose look-ups carry session and turn.
        capacities: in bytes, or in entries of either kind; by default as in `replay`, of single images.
        by: whether capacity is in bytes or in entries.
        policy: who is evicted.
    """
    images = requests(trace).assign(images=1)
    whole = by_request(images)
    bounds = usual_capacities(images, by) if capacities is None else capacities_in(capacities, by)
    rows = []
    for granularity, asked in (("image", images), ("request", whole)):
        run = asked_in(requests(asked), by)
        for capacity in bounds:
            hits, evictions, _ = run_policy(policy, run, capacity)
            encodes = int(asked["images"][~hits].sum())
            rows.append(
                {
                    "granularity": granularity,
                    "capacity": capacity,
                    "encodes": encodes,
                    "encode_seconds": float(run.seconds[~hits].sum()),
                    "hit_ratio": 1 - encodes / len(images),
                    "evictions": evictions,
                }
            )
    table = pd.DataFrame(rows)
    table.attrs.update(about(images, by=by, policies=[policy], capacities=bounds))
    return table
