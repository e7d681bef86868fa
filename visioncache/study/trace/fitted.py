"""A generator fitted to a trace: sessions, what they come back to, what they share, and sizes by client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from visioncache.events import STAGE_TAGS
from visioncache.study.trace.errors import TraceError
from visioncache.study.trace.lookups import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from visioncache.study.trace.traces import TraceLike

OWN, SHARED = 0, -1
"""In the place of a depth: an image new to its session, that no other session asks for, or others too."""

COSTS = ("nbytes", "tokens", "seconds", *STAGE_TAGS)


@dataclass(frozen=True)
class Client:
    """A session of the trace, as others like it are made."""

    depths: NDArray[np.int64]
    """Of each look-up: its image's place in the session's LRU stack, from 1, or `OWN` or `SHARED`."""
    requests: NDArray[np.int64]
    """Look-ups of each request."""
    gaps: NDArray[np.float64]
    """Seconds between its requests."""
    costs: NDArray[np.float64]
    """Of each image of its own: a row of `COSTS`."""


@dataclass(frozen=True)
class Fitted:
    """A generator: `fitted.generate(seed)` gives a trace like the one that it was fitted to.

    A made session imitates a session of the trace: as many requests, as large, as far apart, looking as far
    back. Drawn are which sessions, when they begin, which of the shared images (by popularity) are asked for
    where sessions shared some, and the order of the client's sizes. So what is inside of a session is kept,
    and what sessions have with one another is made: see `fit_error` for how well it fits.
    """

    clients: list[Client]
    starts: NDArray[np.float64]
    """Seconds between the beginnings of sessions."""
    popularity: NDArray[np.float64]
    """Of each shared image: the odds that a session asks for it."""
    shared_costs: NDArray[np.float64]

    def generate(self, seed: int = 0, *, sessions: int | None = None) -> pd.DataFrame:
        """Make a trace of so many sessions, by default as many as the trace has; columns as a workload's.

        Raises:
            ValueError: fewer sessions than one.
        """
        count = len(self.clients) if sessions is None else sessions
        if count < 1:
            raise ValueError(f"sessions={sessions!r}: at least 1")
        rng = np.random.default_rng(seed)
        begun = np.cumsum(rng.choice(self.starts, count)) if count > 1 else np.zeros(1)
        rows: list[tuple[float, int, int, int]] = []
        costs: list[NDArray[np.float64]] = [*self.shared_costs]
        # Every client is imitated as often as any other, in a drawn order.
        chosen = np.concatenate(
            [rng.permutation(len(self.clients)) for _ in range(-(-count // len(self.clients)))]
        )
        for session, number in enumerate(chosen[:count].tolist()):
            client = self.clients[number]
            images = iter(self._images(client, costs, rng))
            now = float(begun[session] - begun[0])
            for turn, many in enumerate(client.requests.tolist()):
                now += float(client.gaps[turn])
                rows += [(now, session, turn, next(images)) for _ in range(many)]
        return self._trace(rows, np.array(costs), f"fitted(seed={seed}, sessions={count})")

    def _images(
        self, client: Client, costs: list[NDArray[np.float64]], rng: np.random.Generator
    ) -> Iterator[int]:
        """Give a made session's images; `costs` grows by those that are its own."""
        order = rng.permutation(len(client.costs)).tolist()
        drawn = iter(self._shared(client, rng))
        stack: list[int] = []  # most recently used last
        for depth in client.depths.tolist():
            if depth == SHARED:
                stack.append(int(next(drawn)))
            elif depth == OWN:
                stack.append(len(costs))
                costs.append(client.costs[order.pop()])
            else:
                stack.append(stack.pop(-depth))
            yield stack[-1]

    def _shared(self, client: Client, rng: np.random.Generator) -> list[int]:
        """Draw a session's shared images by popularity, the most popular where it came back most often."""
        uses = _uses(client.depths)[client.depths == SHARED]
        if not len(uses):
            return []
        # The largest keys of exponentials over odds are a sample without replacement (Efraimidis, Spirakis).
        keys = rng.exponential(size=len(self.popularity)) / self.popularity
        chosen = np.argsort(keys)[: len(uses)]
        images = np.empty(len(uses), np.int64)
        images[np.argsort(-(uses + rng.random(len(uses))), kind="stable")] = chosen
        return images.tolist()

    @staticmethod
    def _trace(
        rows: list[tuple[float, int, int, int]], costs: NDArray[np.float64], made_by: str
    ) -> pd.DataFrame:
        made = pd.DataFrame(rows, columns=["time", "session", "turn", "image"])
        made = made.sort_values("time", kind="stable", ignore_index=True)
        paid = pd.DataFrame(costs[made["image"].to_numpy()], columns=[*COSTS])
        paid["nbytes"] = paid["nbytes"].astype(np.int64)
        trace = pd.DataFrame(
            {
                "time": made["time"],
                "session": [f"made {session}" for session in made["session"]],
                "turn": made["turn"],
                "key": [f"{image:032x}" for image in made["image"]],
                **paid.dropna(axis="columns", how="all"),
                "outcome": None,
            }
        )
        trace.attrs["made"] = made_by
        return trace


def fit(trace: TraceLike) -> Fitted:
    """Fit a generator to a trace: to its sessions, or, where it has none, to all of it as one session.

    Raises:
        TraceError: the trace can't be read, or has no look-ups.
    """
    asked = requests(trace)
    if asked.empty:
        raise TraceError("the trace has no look-ups")
    session = pd.factorize(asked["session"].astype("string").fillna(""))[0]
    told = asked["time"].ffill().fillna(0.0).to_numpy(np.float64)
    # Where a trace begins anew, in its next file, time goes on.
    times = np.cumsum(np.maximum(np.diff(told, prepend=told[:1]), 0.0))
    image = asked["image"].to_numpy(np.int64)
    costs = asked.reindex(columns=[*COSTS]).to_numpy(np.float64)
    by_session = [np.flatnonzero(session == number) for number in range(session.max() + 1)]
    first = pd.Series(image).groupby([session, image]).head(1).index.to_numpy()
    sessions_of = np.bincount(image[first])
    shared = np.flatnonzero(sessions_of > 1)
    at = np.unique(image, return_index=True)[1]
    begins = np.sort([times[rows].min() for rows in by_session])
    whole = float(times.max() - times.min())
    is_shared = sessions_of > 1
    return Fitted(
        [_client(rows, asked, times, image, is_shared, costs) for rows in by_session],
        np.diff(begins) if len(begins) > 1 else np.array([whole]),
        sessions_of[shared] / (len(by_session) + 0.5 - sessions_of[shared]),
        costs[at[shared]],
    )


def _client(
    rows: NDArray[np.int64],
    asked: pd.DataFrame,
    times: NDArray[np.float64],
    image: NDArray[np.int64],
    is_shared: NDArray[np.bool_],
    costs: NDArray[np.float64],
) -> Client:
    """Describe one session, request by request."""
    begins = np.flatnonzero(np.diff(asked["batch"].to_numpy()[rows], prepend=-1))
    when = times[rows][begins]
    own, once = np.unique(image[rows], return_index=True)
    return Client(
        _depths(image[rows].tolist(), is_shared),
        np.diff(np.r_[begins, len(rows)]),
        np.maximum(np.diff(when, prepend=when[0]), 0.0),
        costs[rows][once][~is_shared[own]],
    )


def _uses(depths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count how often the image of each look-up is asked for from there on, where it is new; 0 elsewhere."""
    stack: list[int] = []
    uses = np.zeros(len(depths), np.int64)
    for at, depth in enumerate(depths.tolist()):
        stack.append(at if depth <= 0 else stack.pop(-depth))
        uses[stack[-1]] += 1
    return uses


def _depths(images: list[int], is_shared: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Tell how deep in its LRU stack a session looked, look-up by look-up."""
    stack: list[int] = []
    found = []
    for image in images:
        if image in stack:
            at = stack.index(image)
            found.append(len(stack) - at)
            del stack[at]
        else:
            found.append(SHARED if is_shared[image] else OWN)
        stack.append(image)
    return np.array(found, np.int64)
