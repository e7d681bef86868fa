"""Benchmark: sessions under every arm, interleaved, after a warm-up, with the proof that answers agree."""

from __future__ import annotations

import itertools
import math
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pandas as pd

from visioncache.progress import progress as progress_bar
from visioncache.study.benchmark.arms import ARMS, PREFIX_ARMS, arm_chat
from visioncache.study.benchmark.machine import describe_machine
from visioncache.study.benchmark.result import BenchResult
from visioncache.study.benchmark.sessions import load_session
from visioncache.vlm.patching.mlx_vlm import attached_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from visioncache.study.benchmark.sessions import Session
    from visioncache.vlm.chat import Chat
    from visioncache.vlm.turn import Turn


def bench(
    model: Any,
    processor: Any,
    sessions: Iterable[Session | str | Path],
    *,
    arms: Sequence[str] = ARMS,
    trials: int = 1,
    warm_up: int | None = 2,
    max_tokens: int = 16,
    prompt_cache: bool = False,
    name: str = "",
    progress: bool = True,
    keep: Callable[[BenchResult], object] | None = None,
) -> BenchResult:
    """Run sessions under every arm, trial by trial in turn, each arm with a fresh cache.

    Each trial begins with another arm, so that none is always the first. Whatever is attached to the
    model or the processor is detached meanwhile.

    Args:
        model: what `mlx_vlm.load` returned first.
        processor: what it returned second.
        sessions: what to ask: sessions, names of shipped ones or paths.
        arms: some of `ARMS` and `PREFIX_ARMS`; the first is what the others' tokens are compared with.
        trials: how often each session is run under each arm.
        warm_up: how many turns of each session are run once before under each arm, and thrown away;
            None for all, which a GPU wants that prepares kernels for the shapes it meets.
        max_tokens: the longest answer.
        prompt_cache: let every arm keep the keys and values of earlier turns too.
        name: what to call the model in the result.
        progress: show a bar, on stderr or in a notebook.
        keep: called with what has been measured so far after every session run, so that an
            interrupted or failing run loses nothing.

    Raises:
        ValueError: there is no such arm or session, nothing is asked for, or an image can't be read.
    """
    check_request(arms, trials, max_tokens)
    asked = [load_session(item) if isinstance(item, (str, Path)) else item for item in sessions]
    if not asked:
        raise ValueError("no session to run; load_session('album') is one")
    turns_in_turn = [[*arms[start:], *arms[:start]] for start in range(len(arms))]
    runs = [
        (session, trial, arm)
        for session in asked
        for trial in range(trials)
        for arm in turns_in_turn[trial % len(arms)]
    ]
    result = BenchResult(pd.DataFrame(), describe_machine(), name)
    rows: list[dict[str, Any]] = []
    expected: dict[tuple[str, int], list[int]] = {}
    warm: set[tuple[str, str]] = set()
    total = sum(len(session.turns) for session, _, _ in runs)
    with ExitStack() as stack:
        for attached in attached_with(model, processor):
            stack.enter_context(attached.suspended())
        bar = stack.enter_context(progress_bar(total, "turn", show=progress))
        for session, trial, arm in runs:
            bar.set_description(f"{session.name}: {arm}")
            options = {"max_tokens": max_tokens, "prompt_cache": prompt_cache}
            if (session.name, arm) not in warm:
                warm.add((session.name, arm))
                with arm_chat(arm, model, processor, max_size=session.max_size, **options) as start:
                    for _ in itertools.islice(converse(session, start), warm_up):
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


def check_request(arms: Sequence[str], trials: int, max_tokens: int) -> None:
    """ValueError, in one line, for what can't be measured."""
    every = (*ARMS, *PREFIX_ARMS)
    if isinstance(arms, str) or not arms:
        raise ValueError(f"arms={arms!r}: give a list of some of {', '.join(every)}")
    for number, arm in enumerate(arms):
        if arm not in every:
            raise ValueError(f"no arm {arm!r}; there are: {', '.join(every)}")
        if arm in arms[:number]:
            raise ValueError(f"arm {arm!r} is asked for twice")
    for name, number in (("trials", trials), ("max_tokens", max_tokens)):
        if number < 1:
            raise ValueError(f"{name}={number}: at least 1")


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
        "ahead_s": turn.ahead,
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
    """Tell whether an answer is the expected one, case and surrounding space aside."""
    return answer.strip().casefold() == expect.strip().casefold()
