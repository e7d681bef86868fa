"""bench: sessions under every arm, interleaved, after a warm-up, with the proof that answers agree."""

from __future__ import annotations

import itertools
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pandas as pd
from tqdm import tqdm

from visioncache.sizes import format_size
from visioncache.study.arms import ARMS, arm_chat
from visioncache.study.machine import describe_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from visioncache.study.sessions import Session
    from visioncache.vlm.chat import Chat, Turn

FORMAT = 2
"""Of result files."""


@dataclass
class BenchResult:
    """Every turn of every trial, and where they were measured."""

    turns: pd.DataFrame
    """A row a turn: session, arm, trial, turn, ttft_s, its stages, hits, encodes, bytes, answers."""
    machine: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    about: str = ""
    """What the model is, where its name does not tell."""

    @property
    def tokens_equal(self) -> bool:
        """Whether every arm answered every turn with the same tokens as the first arm."""
        return bool(self.turns["tokens_equal"].all())

    def _repr_html_(self) -> str:
        from visioncache.jupyter.table import bench_html

        return bench_html(self)

    def summary(self) -> pd.DataFrame:
        """A row a session and arm: medians over trials of what its turns add up to."""
        sums = self.turns.groupby(["session", "arm", "trial"], sort=False).agg(
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
        table = sums.groupby(["session", "arm"], sort=False).agg(
            {name: "median" for name in sums.columns if name != "tokens_equal"} | {"tokens_equal": "all"}
        )
        whole = ["turns", "hits", "misses", "encodes", "held_bytes", "peak_bytes"]
        table[whole] = table[whole].astype(int)
        return table.reset_index()

    def table(self) -> str:
        """The summary as text: seconds, counts, bytes, and whether tokens and answers are right."""
        shown = self.summary()
        baseline = shown[shown["arm"] == "mlx-vlm"].set_index("session")["ttft_s"]
        against = shown["session"].map(baseline)
        shown.insert(4, "of mlx-vlm", (shown["ttft_s"] / against).map(lambda r: f"{r:.2f}" if r > 0 else "-"))
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
        return str(shown.rename(columns=names).to_string(index=False))

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


def load_result(path: str | Path) -> BenchResult:
    """A result that `save` wrote; ValueError for any other file."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a result of `visioncache bench` (format {FORMAT})")
    return BenchResult(
        pd.DataFrame(content["turns"]), content["machine"], content["model"], content.get("about", "")
    )


def bench(
    model: Any,
    processor: Any,
    sessions: Iterable[Session],
    *,
    arms: Sequence[str] = ARMS,
    trials: int = 1,
    max_tokens: int = 16,
    prompt_cache: bool = False,
    name: str = "",
    progress: bool = True,
    keep: Callable[[BenchResult], object] | None = None,
) -> BenchResult:
    """Run sessions under every arm, trial by trial in turn, each arm with a fresh cache.

    The first two turns of each session are run once before under each arm, and thrown away.

    Args:
        model: what `mlx_vlm.load` returned first.
        processor: what it returned second.
        sessions: what to ask.
        arms: some of `ARMS`; the first is what the others' tokens are compared with.
        trials: how often each session is run under each arm.
        max_tokens: the longest answer.
        prompt_cache: let every arm keep the keys and values of earlier turns too.
        name: what to call the model in the result.
        progress: show a bar on stderr.
        keep: called with what has been measured so far after every session run, so that an
            interrupted or failing run loses nothing.

    Raises:
        ValueError: there is no such arm, or an image can't be read.
    """
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown or not arms:
        raise ValueError(f"no arm {', '.join(unknown)!r}; there are: {', '.join(ARMS)}")
    runs = [(s, trial, arm) for s in sessions for trial in range(trials) for arm in arms]
    result = BenchResult(pd.DataFrame(), describe_machine(), name)
    rows: list[dict[str, Any]] = []
    expected: dict[tuple[str, int], list[int]] = {}
    warm: set[tuple[str, str]] = set()
    total = sum(len(session.turns) for session, _, _ in runs)
    with tqdm(total=total, unit="turn", file=sys.stderr, disable=not progress) as bar:
        for session, trial, arm in runs:
            bar.set_description(f"{session.name}: {arm}")
            options = {"max_tokens": max_tokens, "prompt_cache": prompt_cache}
            if (session.name, arm) not in warm:
                warm.add((session.name, arm))
                with arm_chat(arm, model, processor, max_size=session.max_size, **options) as start:
                    for _ in itertools.islice(converse(session, start), 2):
                        pass
            with arm_chat(arm, model, processor, max_size=session.max_size, **options) as start:
                mx.reset_peak_memory()
                for number, turn in enumerate(converse(session, start)):
                    tokens = expected.setdefault((session.name, number), turn.tokens)
                    row = {"session": session.name, "arm": arm, "trial": trial, "turn": number + 1}
                    row |= {"prompt_cache": prompt_cache, "peak_bytes": mx.get_peak_memory()}
                    rows.append(row | _measured(turn, tokens, session.turns[number].expect))
                    mx.reset_peak_memory()
                    bar.update()
            result.turns = pd.DataFrame(rows)
            if keep is not None:
                keep(result)
    return result


def converse(session: Session, start: Callable[[], Chat]) -> Iterator[Turn]:
    """Hold a session's conversations, from chats that `start` makes, turn by turn."""
    chats: list[Chat] = []
    afters = [number if item.after is None else item.after for number, item in enumerate(session.turns)]
    for number, (item, after) in enumerate(zip(session.turns, afters, strict=True)):
        if after == 0:
            chat = start()
        elif after == number:
            chat = chats[-1]
        else:
            chat = chats[after - 1]
        # A turn that is continued from twice keeps its own state: those go on in branches of it.
        chat = chat.branch() if after and afters.count(after) > 1 else chat
        chats.append(chat)
        try:
            turn = chat.ask(item.ask, item.images)
        except (OSError, ValueError) as error:
            brought = ", ".join(path.name for path in item.images) or "no image"
            where = f"session {session.name!r}, turn {number + 1} ({brought})"
            raise ValueError(f"{where}: {error}") from error
        yield turn


def _measured(turn: Turn, tokens: list[int], expect: str | None) -> dict[str, Any]:
    return {
        "images": turn.images,
        "prompt_tokens": turn.prompt_tokens,
        "reused_tokens": turn.reused_tokens,
        "ttft_s": turn.ttft,
        **{f"{stage}_s": seconds for stage, seconds in turn.seconds.items()},
        "hits": turn.hits,
        "misses": turn.misses,
        "encodes": turn.encodes,
        "held_bytes": turn.nbytes,
        "tokens_equal": turn.tokens == tokens,
        "answer": turn.text.strip(),
        "correct": math.nan if expect is None else float(grade(turn.text, expect)),
    }


def grade(answer: str, expect: str) -> bool:
    """Whether an answer is the expected one, case and surrounding space aside."""
    return answer.strip().casefold() == expect.strip().casefold()
