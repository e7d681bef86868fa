"""Result: what a benchmark measured, turn by turn, and where; as a table and as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from visioncache.display import format_seconds, table_html
from visioncache.sizes import format_size

FORMAT = 2
"""Of result files."""

_NEEDED = (
    "session",
    "arm",
    "trial",
    "turn",
    "ttft_s",
    "hits",
    "misses",
    "encodes",
    "held_bytes",
    "peak_bytes",
    "tokens_equal",
    "correct",
)


@dataclass
class BenchResult:
    """Every turn of every trial, and where they were measured."""

    turns: pd.DataFrame
    """A row a turn: session, arm, trial, turn, ttft_s, its stages, hits, encodes, bytes, answers."""
    machine: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    about: str = ""
    """Description of the model, where its name does not tell."""

    @property
    def tokens_equal(self) -> bool:
        """Tell whether every arm answered every turn with the same tokens as the first arm."""
        return bool(self.turns["tokens_equal"].all())

    def _repr_html_(self) -> str:
        agree = "every arm gave the same tokens" if self.tokens_equal else "THE ARMS' TOKENS DIFFER"
        about = [self.model, str(self.machine.get("chip", "")), agree]
        frame = self.summary()
        if "mlx-vlm" in set(frame["arm"]):
            runs = run_columns(self.turns)
            theirs = frame[frame["arm"] == "mlx-vlm"].set_index(runs)["ttft_s"].rename("theirs")
            ratio = frame["ttft_s"] / frame.join(theirs, on=runs)["theirs"]
            frame.insert(list(frame.columns).index("ttft_s") + 1, "of mlx-vlm", ratio)
        rows = [[_plain(str(name), value) for name, value in row.items()] for row in frame.to_dict("records")]
        header = [str(name) for name in frame.columns]
        numbers = set(header) - {"session", "arm", "tokens_equal"}
        return table_html(header, rows, " \N{MIDDLE DOT} ".join(filter(None, about)), numbers)

    def summary(self) -> pd.DataFrame:
        """A row a run (see `run_columns`) and arm: medians over trials of what its turns add up to."""
        sums = self.turns.groupby([*run_columns(self.turns), "arm", "trial"], sort=False).agg(
            turns=("turn", "size"),
            ttft_s=("ttft_s", "sum"),
            hits=("hits", "sum"),
            misses=("misses", "sum"),
            encodes=("encodes", "sum"),
            held_bytes=("held_bytes", "last"),
            peak_bytes=("peak_bytes", "max"),
            tokens_equal=("tokens_equal", "all"),
            correct=("correct", "mean"),
        )
        table = sums.groupby([*run_columns(self.turns), "arm"], sort=False).agg(
            {name: "median" for name in sums.columns if name != "tokens_equal"} | {"tokens_equal": "all"}
        )
        whole = ["turns", "hits", "misses", "encodes", "held_bytes", "peak_bytes"]
        table[whole] = table[whole].astype(int)
        return table.reset_index()

    def table(self) -> str:
        """The summary as text: seconds, counts, bytes, and whether tokens and answers are right."""
        shown, runs = self.summary(), run_columns(self.turns)
        baseline = shown[shown["arm"] == "mlx-vlm"].set_index(runs)["ttft_s"].rename("baseline")
        ratios = shown["ttft_s"] / shown.join(baseline, on=runs)["baseline"]
        place = list(shown.columns).index("ttft_s") + 1
        shown.insert(place, "of mlx-vlm", ratios.map(lambda r: f"{r:.2f}" if r > 0 else "-"))
        shown["ttft_s"] = shown["ttft_s"].map(lambda s: f"{s:.2f}")
        shown["held_bytes"] = shown["held_bytes"].map(format_size)
        shown["peak_bytes"] = shown["peak_bytes"].map(format_size)
        shown["correct"] = shown["correct"].map(lambda c: "-" if pd.isna(c) else f"{c:.0%}")
        shown["tokens_equal"] = shown["tokens_equal"].map({True: "yes", False: "NO"})
        names = {
            "ttft_s": "sum of TTFT (s)",
            "held_bytes": "held",
            "peak_bytes": "peak",
            "tokens_equal": "same tokens",
        }
        shown = shown.rename(columns=names)
        # Names have spaces in them, so columns are further apart than one.
        return str(shown.to_string(index=False, col_space=[len(name) + 1 for name in shown.columns]))

    def save(self, path: str | Path) -> Path:
        """Write everything as JSON, raw trials included; the folder is made."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = json.loads(self.turns.to_json(orient="records"))
        content = {
            "format": FORMAT,
            "model": self.model,
            "about": self.about,
            "machine": self.machine,
            "turns": rows,
        }
        target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return target


def _plain(name: str, value: Any) -> str:
    """A cell of a table, by the unit that its column's name carries."""
    if name.endswith("bytes"):
        return format_size(value)
    if name.endswith("_s"):
        return format_seconds(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def load_result(path: str | Path) -> BenchResult:
    """A result that `save` wrote; ValueError for any other file."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # no UTF-8, or no JSON
        if getattr(error, "msg", "") == "Extra data":  # a second line: a trace, or a session
            raise ValueError(
                f"{path} is no result of `visioncache bench`; if it is a trace: visioncache simulate {path}"
            ) from None
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a result of `visioncache bench` (format {FORMAT})")
    turns, machine = content.get("turns"), content.get("machine")
    rows = turns if isinstance(turns, list) and turns and all(isinstance(row, dict) for row in turns) else []
    lost = [name for name in _NEEDED if not rows or any(name not in row for row in rows)]
    if lost:
        raise ValueError(f"{path}: its turns lack {', '.join(lost)}")
    if not isinstance(machine, dict):
        raise ValueError(f"{path}: it does not say on which machine")  # noqa: TRY004  # one error
    return BenchResult(pd.DataFrame(rows), machine, content.get("model", ""), content.get("about", ""))


def run_columns(turns: pd.DataFrame) -> list[str]:
    """Columns that tell runs apart: the session; where there are several, size and prompt cache too."""
    several = [name for name in ("size", "prompt_cache") if name in turns and len(turns[name].unique()) > 1]
    return ["session", *several]
