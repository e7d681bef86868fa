"""Requests of made-up workloads: the times between them, and the look-ups that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from visioncache.study.trace.images import ImageModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

Arrivals = Literal["poisson", "bursty"]

BURSTY_CV = 4.0
"""Of the times between requests: the upper quartile of ServeGen's mm-image clients is 3.96."""

Request = tuple[float, str, int, "Sequence[int]"]
"""When, in which session, at which turn, and the images, as numbers."""


def gaps(count: int, mean: float, rng: np.random.Generator, arrivals: Arrivals) -> NDArray[np.float64]:
    """Seconds between requests: exponential, or gamma with the coefficient of variation `BURSTY_CV`."""
    if arrivals == "poisson":
        return rng.exponential(mean, count)
    if arrivals == "bursty":
        shape = 1 / BURSTY_CV**2
        return rng.gamma(shape, mean / shape, count)
    raise ValueError(f"arrivals={arrivals!r}; there are: 'poisson', 'bursty'")


def look_ups(asked: Iterable[Request], images: ImageModel | None, rng: np.random.Generator) -> pd.DataFrame:
    """A row for every image of every request, with what that image costs."""
    model = images or ImageModel()
    rows = [
        (time, session, turn, image) for time, session, turn, shown in asked for image in dict.fromkeys(shown)
    ]
    trace = pd.DataFrame(rows, columns=["time", "session", "turn", "image"])
    count = int(trace["image"].max()) + 1 if len(trace) else 0
    tokens = model.draw(count, rng)[trace["image"].to_numpy(np.int64)]
    return pd.DataFrame(
        {
            "time": trace["time"],
            "session": trace["session"],
            "turn": trace["turn"],
            "key": [f"{image:032x}" for image in trace["image"]],
            "nbytes": model.nbytes(tokens),
            "tokens": tokens,
            "seconds": model.seconds(tokens),
            **model.stages(tokens),
            "outcome": None,
        }
    )
