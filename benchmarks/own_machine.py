"""Measure sessions on this machine, one after another: what was measured is kept, and a run goes on where it was.

    python benchmarks/own_machine.py MODEL --size 640x480 1280x960

writes out/results/CHIP-MODEL.json, in the format of data/results/sessions, with no path of this machine in it. Notebook 02
does the same in a cell.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_sessions import scaled, size_of, slug, with_earlier

from visioncache.sizes import count
from visioncache.study import bench, load_model, load_result, load_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
ARMS = ("none", "mlx-vlm", "visioncache", "bound")
WARM_UP = 2
VERSIONS = ("visioncache", "mlx", "mlx_vlm")


def measure(
    model: Any,
    processor: Any,
    name: str | None,
    sizes: Iterable[str] = ("1280x960",),
    sessions: Iterable[str] = ("album",),
    *,
    trials: int = 3,
    folder: Path = ROOT / "out" / "results",
) -> Path:
    """Run what the result file does not hold yet, and return the file.

    Says first how many turns are left, and about how many minutes they take: a few turns are timed for that, without a
    cache. Each session is written as soon as it is measured; interrupt it, and run it again later.

    Args:
        model: what `load_model` returned first.
        processor: what it returned second.
        name: the checkpoint; None for the demo model.
        sizes: of photographs, as "1280x960".
        sessions: names of shipped sessions.
        trials: how often each session is run under each arm.
        folder: where the file goes.
    """
    called = public_name(name)
    with tempfile.TemporaryDirectory() as photographs:
        runs = list(planned(list(sizes), list(sessions), Path(photographs)))
        turn = bench(
            model,
            processor,
            [runs[0][1]],
            arms=["none"],
            warm_up=1,
            max_tokens=1,
            progress=False,
            name=called,
        )
        path = folder / f"{slug(turn.machine['chip'])}-{slug(called)}.json"
        set_aside(path, turn.machine)
        left = [(size, session) for size, session in runs if held(path, size, session.name) < trials]
        turns = sum((trials * len(session.turns) + WARM_UP) * len(ARMS) for _, session in left)
        minutes = turns * turn.turns["ttft_s"].mean() / 60
        print(
            f"{len(runs) - len(left)} of {len(runs)} sessions are measured; {turns} turns are left, warm-up included, "
            f"at most {count(math.ceil(minutes), 'minute')}"
        )
        for size, session in left:
            result = bench(
                model,
                processor,
                [session],
                arms=ARMS,
                trials=trials,
                warm_up=WARM_UP,
                max_tokens=1,
                name=called,
            )
            result.about = f"{called}, as mlx_vlm.load gives it"
            result.turns.insert(0, "size", size)
            with_earlier(path, result).save(path)
    return path


def planned(sizes: list[str], sessions: list[str], folder: Path) -> Iterator[tuple[str, Any]]:
    """Make each session's photographs in each size."""
    for size in sizes:
        for session in scaled(sessions, size_of(size), folder):
            yield size, session


def held(path: Path, size: str, session: str) -> int:
    """Return how many trials of a session at a size a file holds."""
    if not path.is_file():
        return 0
    turns: pd.DataFrame = load_result(path).turns
    return int(turns.loc[(turns["size"] == size) & (turns["session"] == session), "trial"].nunique())


def set_aside(path: Path, machine: dict[str, Any]) -> None:
    """Rename a file that other versions wrote: one file is one set of versions."""
    if path.is_file():
        versions = [load_result(path).machine[name] for name in VERSIONS]
        if versions != [machine[name] for name in VERSIONS]:
            path.rename(path.with_name(f"{path.stem}-{'-'.join(versions)}.json"))


def public_name(name: str | None) -> str:
    """Return a checkpoint's name without the folders of this machine."""
    if name is None:
        return "demo-vlm"
    return Path(name).name if Path(name).expanduser().exists() else name


def main() -> None:
    """Parse, load, measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "model", nargs="?", help="a checkpoint, as mlx_vlm.load takes it; the demo model without one"
    )
    parser.add_argument("--size", nargs="+", default=["640x480", "1280x960"])
    parser.add_argument("--session", nargs="+", default=["album", "page"])
    parser.add_argument("--trials", type=int, default=3)
    options = parser.parse_args()
    for name in options.session:
        load_session(name)  # a slip here should not cost the loading of a model
    loaded = load_model(options.model)
    print(measure(*loaded, options.model, options.size, options.session, trials=options.trials))


if __name__ == "__main__":
    main()
