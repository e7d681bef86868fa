"""Replaying a trace under many policies and capacities, beside what no policy can beat."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from visioncache.progress import progress as progress_bar
from visioncache.study.sim.borrowed import ratios_by_libcachesim, write_look_ups
from visioncache.study.sim.capacities import capacities_in, usual_capacities
from visioncache.study.sim.mrc import By, asked_in
from visioncache.study.sim.optimum import belady, most_saved, reusable
from visioncache.study.sim.outcome import CapacityError
from visioncache.study.sim.policies import TINY, available, named, run_policy
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.provenance import about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from visioncache.study.sim.outcome import Asked
    from visioncache.study.trace.traces import TraceLike

REFERENCES = {
    "belady": "Belady's MIN, which knows the future: by entries, no policy hits more",
    "offline-bound": "no policy gets above it, not even one that knows the future",
    "infinite": "a cache that never evicts; only first looks miss in it",
}
"""Rows beside the policies, and what each is. `belady` is by entries alone."""


class Task(NamedTuple):
    """One cell of a replay."""

    policy: str
    capacity: int


class Work(NamedTuple):
    """Hold what all cells of a replay share."""

    asked: Asked
    worth: dict[str, NDArray[np.float64]]
    """By column: what hitting each look-up is worth."""
    by: By
    path: Path | None
    """The look-ups as libCacheSim reads them, where ratios alone are wanted."""


def replay(
    trace: TraceLike,
    policies: str | Sequence[str] | None = None,
    capacities: int | str | Sequence[int | str] | None = None,
    by: By = "bytes",
    *,
    references: bool = True,
    ratios: bool = False,
    progress: bool = False,
    workers: int = 1,
) -> pd.DataFrame:
    """Replay a trace under each policy at each capacity; a row a policy and capacity.

    All look-ups of a request come first, then what they missed is stored, as an attached model does it; a row
    that goes look-up by look-up has a note of that.

    Columns: `policy`, `capacity`, `hit_ratio` (of look-ups), `byte_hit_ratio` (of bytes asked for),
    `seconds_saved` (each hit's own, see `requests`), `evictions`, `note` (how the run differs from the
    policy as published), `encodes` (misses). The references are rows too: "belady" only by entries, where
    it is the best that can be done; "offline-bound" is at or above the offline optimum in that column,
    each column on its own; "infinite" is a cache that never evicts, so 1 - its hit ratio is the compulsory
    misses. A policy that a capacity is too small for has NaN there. `.attrs` say where the table comes from.

    Args:
        trace: a trace; at least `key` and `nbytes`.
        policies: one or more names from `POLICIES`, with options or without ("lrfu:decay=0.9"), as a list
            or separated by commas; by default all usual ones that can run here.
        capacities: in entries, or in bytes (numbers or "1.5 GiB"); by default up to seven, from the largest
            entry to the whole working set.
        by: whether capacity is in entries or in bytes.
        references: whether to add their rows.
        ratios: run libCacheSim's policies in C over a file, all but W-TinyLFU. That doesn't tell which
            look-ups hit: `seconds_saved` is NaN there, and so is `byte_hit_ratio` by entries.
        progress: show a bar on stderr.
        workers: processes that share the work; in a script, only under `if __name__ == "__main__":`.

    Raises:
        TraceError: the trace can't be read or has no requests.
        ValueError: an unknown policy or option, or a capacity that is none.
        MissingExtraError: a policy was named that needs an extra.
    """
    names = policy_names(policies)
    asked = requests(trace)
    look_ups = asked_in(asked, by)
    if isinstance(capacities, (int, str)):
        capacities = [capacities]
    bounds = usual_capacities(asked, by) if capacities is None else capacities_in(capacities, by)
    extra = [name for name in REFERENCES if name != "belady" or by == "entries"] if references else []
    worth = {
        "hit_ratio": np.full(len(asked), 1.0 / len(asked)),
        "byte_hit_ratio": asked["nbytes"].to_numpy(np.float64) / max(int(asked["nbytes"].sum()), 1),
        "seconds_saved": look_ups.seconds,
    }
    tasks = [Task(name, capacity) for name in [*names, *extra] for capacity in bounds]
    with (
        _work(look_ups, worth, by, ratios=ratios) as work,
        _runner(work, workers) as run,
        progress_bar(len(tasks), "replay", show=progress) as bar,
    ):
        rows = []
        for task, row in zip(tasks, run(tasks), strict=True):
            rows.append({**task._asdict(), **row})
            bar.update()
    table = pd.DataFrame(rows)
    table["encodes"] = ((1.0 - table["hit_ratio"]) * len(asked)).round()
    table.attrs.update(about(asked, by=by, policies=names, capacities=bounds))
    return table


def policy_names(policies: str | Sequence[str] | None) -> list[str]:
    """List policies by name, each once.

    Raises:
        ValueError: there is no such policy, or an option of it can't be.
        MissingExtraError: one needs an extra.
    """
    if policies is None:
        return available()
    given = policies.split(",") if isinstance(policies, str) else policies
    names = [*dict.fromkeys(name.strip() for name in given)]
    for name in names:
        named(name)
    for name in names:
        with suppress(CapacityError):
            run_policy(name, TINY, 16)  # what it lacks is told before the others have run
    return names


@contextmanager
def _work(asked: Asked, worth: dict[str, NDArray[np.float64]], by: By, *, ratios: bool) -> Iterator[Work]:
    """Give what all cells share; with `ratios`, a file of the look-ups that is there until the end."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "look-ups"
        yield Work(asked, worth, by, path if ratios and write_look_ups(asked, path) else None)


_handed: list[Work] = []
"""In a worker process: what was handed over when it began."""


@contextmanager
def _runner(work: Work, workers: int) -> Iterator[Callable[[list[Task]], Iterator[dict[str, Any]]]]:
    """Give a function from tasks to their rows, in order, in this process or in several."""
    if workers <= 1:
        yield lambda tasks: map(partial(_row, work), tasks)
        return
    # Threads of a BLAS or of MLX don't survive a fork, so workers start afresh.
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (work,)) as pool:

        def run(tasks: list[Task]) -> Iterator[dict[str, Any]]:
            # The policies of this process alone, such as a notebook's, can't be run elsewhere.
            futures = [
                pool.submit(_row_of_worker, task) if _is_shipped(task.policy) else None for task in tasks
            ]
            for task, future in zip(tasks, futures, strict=True):
                yield _row(work, task) if future is None else future.result()

        yield run


def _is_shipped(policy: str) -> bool:
    run: Any = REFERENCES if policy in REFERENCES else named(policy)[0].run
    return getattr(getattr(run, "func", run), "__module__", "visioncache").startswith("visioncache")


def _begin(work: Work) -> None:
    _handed.append(work)


def _row_of_worker(task: Task) -> dict[str, Any]:
    return _row(_handed[0], task)


def _row(work: Work, task: Task) -> dict[str, Any]:
    """Replay one policy at one capacity."""
    name, capacity = task
    asked, worth, by, path = work
    if name == "offline-bound":
        bounds: dict[str, Any] = {
            column: most_saved(asked, value, capacity) for column, value in worth.items()
        }
        return bounds | {"evictions": np.nan, "note": ""}
    note = ""
    if name == "infinite":
        hits, evictions = reusable(asked.keys), 0
    elif name == "belady":
        hits, evictions, note = belady(asked, capacity)
    else:
        found, options = named(name)
        in_c = found.in_c if path is not None else None
        try:
            if in_c is not None and path is not None:
                ratio, byte_ratio, evictions, note = ratios_by_libcachesim(
                    in_c, asked, capacity, path, **options
                )
                told = {"hit_ratio": ratio, "byte_hit_ratio": byte_ratio if by == "bytes" else np.nan}
                return told | {"seconds_saved": np.nan, "evictions": evictions, "note": note}
            hits, evictions, note = run_policy(name, asked, capacity)
        except CapacityError as error:
            return dict.fromkeys([*worth, "evictions"], np.nan) | {"note": str(error)}
    return {column: float(value[hits].sum()) for column, value in worth.items()} | {
        "evictions": evictions,
        "note": note,
    }
