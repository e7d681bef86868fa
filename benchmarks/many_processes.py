"""Measure many processes that share images: each with its own cache alone, with one folder, with one server.

    python benchmarks/many_processes.py [--processes 2 4 8] [--conversations 12] [--trials 3]

Real processes (`one_kernel.py`), each with the demo model in it and one thread of BLAS, as kernels of several people
on one machine. Each holds conversations of its own about photographs that all of them know and two that it alone
knows; memory holds four entries, so that a store has work to do. Arms: no cache, memory alone, a folder behind it, a
redis-server (or valkey-server) on the loopback behind it, and that server killed when half of the turns are done. Every
arm's tokens are compared with those of no cache. Writes data/results/processes/<chip>-<model>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_sessions import slug
from shared_stores import fate, summary
from store_tiers import start_server

from visioncache.machine import commit
from visioncache.study.data import data_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    Conversations = list[list[tuple[str, list[str]]]]

ARMS = ("none", "memory", "folder", "server", "server killed")
MAX_SIZE = 4
"""Entries that a process holds in memory, fewer than the photographs it talks about."""
PHOTOGRAPHS = "astronaut.png camera.png cat.png coffee.png coins.png dandelion.jpg dogs.jpg fig.jpg flower.jpg mountains.jpg palace.jpg rocket.jpg"
QUESTIONS = ("What is this?", "Is this image an animal?", "How many images are there?", "What is in image 1?")
SHARED = 0.8
"""How often a person shows one of the photographs that everybody knows."""


class Kernel:
    """A process that converses as it is told."""

    def __init__(self, checkpoint: str | None) -> None:
        command = [
            sys.executable,
            str(Path(__file__).with_name("one_kernel.py")),
            *filter(None, [checkpoint]),
        ]
        # As many threads in each as there are cores would only wait for each other.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(  # noqa: S603  # this Python, our script
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def order(self, **order: Any) -> None:
        """Tell it what to do next."""
        assert self.process.stdin is not None  # noqa: S101  # for the type checker
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def lines(self, last: str) -> Iterator[dict[str, Any]]:
        """Read what it says, up to the line that names `last`."""
        assert self.process.stdout is not None  # noqa: S101  # for the type checker
        for line in self.process.stdout:
            said = json.loads(line)
            yield said
            if last in said:
                return
        raise RuntimeError(f"a process ended with status {self.process.wait()}; what it printed is above")

    def end(self) -> None:
        """Kill it, if it lives."""
        self.process.kill()
        self.process.communicate()


def main() -> None:
    """Parse, run, write after every run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--conversations", type=int, default=12, help="of each process, three turns each")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--checkpoint", help="a model that mlx_vlm.load finds (default: the demo model)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=data_path("results", "processes"))
    options = parser.parse_args()
    arguments = {name: value for name, value in vars(options).items() if name != "out"}
    told = {"script": Path(__file__).name, "arguments": arguments, "commit": commit()}
    runs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        kernels = [Kernel(options.checkpoint) for _ in range(max(options.processes))]
        for kernel in kernels:
            stack.callback(kernel.end)
            kernel.order(warm_up=[str(data_path("images", "scenes", "star.png"))])
        ready = [next(kernel.lines("ready"))["ready"] for kernel in kernels]
        machine = ready[0]
        name = options.checkpoint or "demo-vlm"
        told |= {"model": name, "machine": machine, "load_before": os.getloadavg()[0]}
        for trial in range(options.trials):
            for count in sorted(options.processes):
                reference: dict[int, list[list[int]]] = {}
                for arm in ("none", *(arm for arm in options.arms if arm != "none")):
                    plan = [conversations(options.conversations, options.seed, i) for i in range(count)]
                    run = one_run(kernels[:count], arm, plan)
                    for kernel in run["kernels"]:
                        tokens = kernel.pop("tokens")
                        same = [
                            one == other
                            for one, other in zip(
                                tokens, reference.setdefault(kernel["process"], tokens), strict=True
                            )
                        ]
                        kernel["turns_equal"] = sum(same)
                    runs.append({"processes": count, "arm": arm, "trial": trial, **run})
                    path = options.out / f"{slug(machine['chip'])}-{slug(name)}.json"
                    save(path, {**told, "runs": runs})
                    print(f"{count} processes, {arm}: {run['seconds']:.1f} s", flush=True)
    content = json.loads(path.read_text(encoding="utf-8"))
    for table in (summary(content), fate(content)):
        print(f"\n{table.to_string(index=False)}")


def conversations(count: int, seed: int, process: int) -> Conversations:
    """Draw a person's conversations: three turns each, that show one to three pictures in all."""
    rng = random.Random(f"{seed}/{process}")
    images = data_path("images")
    shared = [str(images / name) for name in PHOTOGRAPHS.split()]
    weights = [1 / rank for rank in range(1, len(shared) + 1)]
    own = [sorted((images / name).glob("*.png"))[process % 8] for name in ("colours", "screens")]

    def picture() -> str:
        return rng.choices(shared, weights)[0] if rng.random() < SHARED else str(rng.choice(own))

    def conversation() -> list[tuple[str, list[str]]]:
        later = [[picture()] if rng.random() < 0.5 else [] for _ in range(2)]
        return [(rng.choice(QUESTIONS), shown) for shown in ([picture()], *later)]

    return [conversation() for _ in range(count)]


def one_run(kernels: list[Kernel], arm: str, plan: list[Conversations]) -> dict[str, Any]:
    """Let every kernel hold its conversations at once; kill the server in the middle where the arm says so."""
    turns: list[list[dict[str, Any]]] = [[] for _ in kernels]
    counted: list[dict[str, Any]] = [{} for _ in kernels]
    half = threading.Semaphore(0)
    enough = sum(len(talk) for talks in plan for talk in talks) // 2

    def listen(number: int, kernel: Kernel) -> None:
        try:
            for line in kernel.lines("counted"):
                if "turn" in line:
                    turns[number].append(line["turn"])
                    half.release()
                else:
                    counted[number] = line["counted"]
        finally:
            half.release(enough)  # nobody waits for a process that has ended

    with a_store(arm) as (store, server):
        listeners = [threading.Thread(target=listen, args=pair) for pair in enumerate(kernels)]
        for kernel, talks in zip(kernels, plan, strict=True):
            kernel.order(arm=arm, conversations=talks, store=store, max_size=MAX_SIZE)
        for listener in listeners:
            listener.start()
        killed = None
        if arm == "server killed" and server is not None:
            for _ in range(enough):
                half.acquire()
            server.kill()
            server.wait()
            killed = time.monotonic()
        for listener in listeners:
            listener.join()
    if not all(counted):
        raise SystemExit("a process ended before it had answered; what it printed is above")
    shown = {path for talks in plan for talk in talks for _, images in talk for path in images}
    begin = min(rows[0]["start_s"] for rows in turns)
    return {
        "seconds": round(max(rows[-1]["end_s"] for rows in turns) - begin, 4),
        "killed_s": None if killed is None else round(killed - begin, 4),
        "images": len(shown),
        "kernels": [
            {"process": number, **counts, **columns(rows, begin)}
            for number, (counts, rows) in enumerate(zip(counted, turns, strict=True))
        ],
    }


def columns(turns: list[dict[str, Any]], begin: float) -> dict[str, Any]:
    """Turn a process's turns into a list a field; seconds count from the run's first turn."""
    return {
        **{name: [round(row[name] - begin, 3) for row in turns] for name in ("start_s", "end_s")},
        **{name: [row[name] for row in turns] for name in ("encodes", "lookups", "tokens")},
        "exceptions": [row["error"] for row in turns if row["error"]],
    }


@contextmanager
def a_store(arm: str) -> Iterator[tuple[str | None, subprocess.Popen[bytes] | None]]:
    """Make what an arm's processes share, for as long as it runs."""
    with tempfile.TemporaryDirectory() as folder:
        if not arm.startswith("server"):
            yield (folder if arm == "folder" else None), None
            return
        started = start_server(folder)
        if started is None:
            raise SystemExit(
                "no server: apt install redis-server, or leave out --arms server 'server killed'"
            )
        server, port = started
        try:
            yield f"redis://127.0.0.1:{port}/0", server
        finally:
            server.kill()
            server.wait()


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a result, a process's run a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1)
    lines = re.sub(
        r'\{\s+"process":.*?\n    \}',
        lambda found: json.dumps(json.loads(found[0]), separators=(",", ":")),
        text,
        flags=re.DOTALL,
    )
    path.write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
