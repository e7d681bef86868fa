"""Workloads by name: seeded, parameterised traces of how people and programs ask about images.

Each function says what it imitates and returns a trace of look-ups, one row an image of a request.
A request of a conversation brings every image that the conversation still shows: that is how vision
language models are asked, turn after turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from visioncache.study.trace.people import album, branches, catalogue, interleaved
from visioncache.study.trace.programs import document, loop, screenshots, video

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

WORKLOADS: dict[str, Callable[..., pd.DataFrame]] = {
    function.__name__: function
    for function in (album, document, screenshots, catalogue, branches, interleaved, video, loop)
}
"""Workloads by name."""


def workload(name: str, seed: int = 0, **options: object) -> pd.DataFrame:
    """Make a workload by its name, with `.attrs["made"]` saying how; ValueError for an unknown name."""
    if name not in WORKLOADS:
        raise ValueError(f"no workload {name!r}; there are: {', '.join(WORKLOADS)}")
    trace = WORKLOADS[name](seed, **options)
    given = ", ".join(f"{option}={value!r}" for option, value in {"seed": seed, **options}.items())
    trace.attrs["made"] = f"{name}({given})"
    return trace
