"""One process of `many_processes.py`: loads the model once, then holds conversations as it is told to.

It reads an order a line (JSON) from standard input and answers in lines on standard output: "ready", then for
each order a line a turn, and at the end of an order what the cache counted.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from visioncache import VisionFeatureCache, attach
from visioncache.study.benchmark.arms import arm_chat
from visioncache.study.benchmark.demo import load_model
from visioncache.study.benchmark.machine import describe_machine
from visioncache.vlm import Chat

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TOKENS = 6


class TimedCache(VisionFeatureCache):
    """A cache that keeps, for each look-up, where it was answered and the seconds that it took."""

    lookups: list[tuple[str, float]]

    def _find(self, text: str) -> Any:
        before = self.info()
        start = time.perf_counter()
        found = super()._find(text)
        seconds = time.perf_counter() - start
        now = self.info()
        where = (
            "memory" if now.hits > before.hits else "store" if now.store_hits > before.store_hits else "miss"
        )
        self.lookups.append((where, round(seconds, 6)))
        return found


def main() -> None:
    """Load, then do what standard input says, until it ends."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    model, processor = load_model(name)
    for line in sys.stdin:
        order = json.loads(line)
        if "warm_up" in order:
            Chat(model, processor, max_tokens=MAX_TOKENS).ask("What is this?", order["warm_up"])
            say(ready=describe_machine())
        else:
            converse_as_told(order, model, processor)


def converse_as_told(order: dict[str, Any], model: Any, processor: Any) -> None:
    """Hold an order's conversations, with a cache of its kind or with none, and say what came of them."""
    if order["arm"] == "none":
        with arm_chat("none", model, processor, max_tokens=MAX_TOKENS) as start:
            hold(order["conversations"], start, [])
        say(counted={"store_errors": 0})
        return
    cache = TimedCache(max_size=order["max_size"], store=order["store"])
    cache.lookups = []
    with warnings.catch_warnings(record=True) as warned, attach(model, processor, cache):
        warnings.simplefilter("always")
        hold(
            order["conversations"],
            lambda: Chat(model, processor, cache, max_tokens=MAX_TOKENS),
            cache.lookups,
        )
    cache.flush(5)
    store = cache.info().store
    cache.close()  # before whoever listens removes the folder
    say(
        counted={
            "warnings": len([one for one in warned if one.category.__name__ == "StoreWarning"]),
            "store_errors": store.errors if store else 0,
            "store_writes": store.writes if store else 0,
        }
    )


def hold(
    conversations: list[list[tuple[str, list[str]]]],
    start: Callable[[], Chat],
    lookups: list[tuple[str, float]],
) -> None:
    """Hold conversations one after the other, and say a line a turn; an exception is a turn's, too."""
    for conversation in conversations:
        chat = start()
        for question, images in conversation:
            begun, before = time.monotonic(), len(lookups)
            row: dict[str, Any] = {"encodes": 0, "tokens": None, "error": None}
            try:
                turn = chat.ask(question, images)
                row |= {"encodes": turn.encodes or 0, "tokens": turn.tokens}
            except Exception as error:  # noqa: BLE001  # what a person would have seen
                row |= {"error": f"{type(error).__name__}: {error}"}
            say(turn={**row, "start_s": begun, "end_s": time.monotonic(), "lookups": lookups[before:]})


def say(**line: Any) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
