"""A process that forks writers and kills them; it talks JSON lines with test_kills.py."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys

from blake3 import blake3

from visioncache.keys import Key
from visioncache.stores import index
from visioncache.stores.disk import DiskStore

KEYS = 30
MAX_BYTES = 1_000_000


def payload(rng: random.Random) -> bytes:
    """Bytes that tell whether they are whole."""
    body = rng.randbytes(rng.randrange(120_000))
    return blake3(body).digest() + body


def write(folder: str, seed: int, progress: int, puts: int) -> None:
    """Put, get and delete at random, and say so byte by byte."""
    rng = random.Random(seed)
    store = DiskStore(folder, max_bytes=MAX_BYTES)
    for _ in range(puts):
        key = Key.from_source(str(rng.randrange(KEYS))).scoped(rng.choice("xy"))
        choice = rng.randrange(12)
        if choice == 0:
            store.delete(key)
        elif choice == 1:
            store.get(key)
        else:
            store.put(key, payload(rng))
        os.write(progress, b".")
    store.close()


def die_at(step: int) -> None:
    """Kill this process at its n-th file operation or statement of SQL."""
    left = step

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(event: str, _: object) -> None:
        if event.startswith(("os.", "fcntl.", "shutil.")) or event == "open":
            count()

    connect = sqlite3.connect

    def traced(*args: object, **kwargs: object) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.set_trace_callback(count)
        return connection

    index.sqlite3.connect = traced  # type: ignore[assignment]
    sys.addaudithook(hear)


def fork(folder: str, seed: int, puts: int, step: int = 0) -> tuple[int, int]:
    """A writer's process id, and where to read its progress."""
    end, progress = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        try:
            if step:
                die_at(step)
            write(folder, seed, progress, puts)
        finally:
            os._exit(0)
    os.close(progress)
    return pid, end


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        rng = random.Random(order["seed"])
        step = order.get("step", 0)
        writers = [
            fork(order["folder"], rng.randrange(1 << 30), order["puts"], step)
            for _ in range(order["writers"])
        ]
        if not step:
            # A kill lands wherever a writer has got to while this process was woken.
            heard = 0
            while heard < order["after"] and os.read(writers[0][1], 1):
                heard += 1
            for pid, _ in writers[: order["kills"]]:
                os.kill(pid, signal.SIGKILL)
        for _, end in writers:
            while os.read(end, 4096):
                pass
            os.close(end)
        ends = [os.waitpid(pid, 0)[1] for pid, _ in writers]
        killed = sum(os.WIFSIGNALED(status) for status in ends)
        print(json.dumps({"killed": killed}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
