"""How long a look-up takes in every tier: memory, disk (warm and cold), a server, and encoding anew.

    python benchmarks/store_tiers.py [--trials 21] [--json results.json]

The trials of all arms are interleaved and every median is of all of them; a time ends after `mx.eval`.
"Plain" reads the same file with `mmap` and copies it; a disk hit reads it into memory of its own, verifies
its checksum and copies it. A "first" disk hit is the first of a process for its file; "warm" hits are the
later ones, and "cold" is a first hit after the system was told to forget the file. "Encode" is
the vision tower of Qwen2.5-VL-3B's shapes scaled down to one block, on this machine: on another one
it takes another time.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import platform
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx import nn

from visioncache import Key, VisionFeatureCache
from visioncache.stores import DiskStore, RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 2048
SIZES = {"1.6 MB": 1_600_000, "6.4 MB": 6_400_000, "16 MB": 16_000_000}
"""Bytes of bfloat16 features: about 390, 1560 and 3900 tokens of Qwen2.5-VL-3B."""

ENCODE_TRIALS = 1
"""It takes seconds on a CPU, where nothing about it has to warm up."""


def features(nbytes: int) -> mx.array:
    """Noise of the shape and size of one image's features."""
    rows = nbytes // (2 * WIDTH)
    noise = np.random.default_rng(0).standard_normal((rows, WIDTH), dtype=np.float32)
    value = mx.array(noise).astype(mx.bfloat16)
    mx.eval(value)
    return value


class Block(nn.Module):
    """One block of a vision tower, 1280 wide, and the merger; 32 of them are a tower."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiHeadAttention(1280, 16)
        self.norms = [nn.RMSNorm(1280), nn.RMSNorm(1280)]
        self.up, self.down = nn.Linear(1280, 3420), nn.Linear(3420, 1280)
        self.merger = nn.Linear(4 * 1280, WIDTH)

    def __call__(self, patches: mx.array) -> mx.array:
        # Windows of 64 patches, as most of that tower's blocks attend.
        x = patches.reshape(-1, 64, 1280)
        normed = self.norms[0](x)
        x = x + self.attention(normed, normed, normed)
        x = x + self.down(nn.gelu(self.up(self.norms[1](x))))
        return self.merger(x.reshape(-1, 4 * 1280))


def plain(path: Path) -> mx.array:
    """The least that reading a file into an array takes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        value = mx.array(np.frombuffer(data, dtype=np.uint8))
        mx.eval(value)
    return value


def forget(path: Path) -> None:
    """Have the system drop a file from its memory, where it can be told to."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def start_server(folder: str) -> tuple[subprocess.Popen[bytes], int] | None:
    """A server on the loopback, if there is one to start."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        return None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603  # a server found on the path
        [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            continue
        return process, port
    process.kill()
    return None


def found(value: Any) -> Any:
    """Evaluate what a look-up returned; an error when it missed."""
    if value is None:
        raise RuntimeError("a look-up that had to hit has missed")
    mx.eval(value)
    return value


def arms(folder: Path, url: str | None, size: int) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """List what to measure: for each arm, what to do before a trial, and the trial."""
    key = Key.from_source("image.jpg").scoped(f"benchmark/{size}")
    value = features(size)
    disk = folder / str(size)
    memory, warm = VisionFeatureCache(), VisionFeatureCache(store=disk)
    memory.put(key, value)
    warm.put(key, value, meta={"features": [list(value.shape), "bfloat16"]})
    warm.flush()
    path = next(disk.glob("entries/*/*.safetensors"))
    # The cold arms have a copy of their own, so that nothing else keeps it in memory.
    elsewhere = folder / f"{size} cold"
    shutil.copytree(disk / "entries", elsewhere / "entries")
    cold_path = elsewhere / path.relative_to(disk)
    fresh: list[VisionFeatureCache] = []

    def evict() -> None:
        warm._lru.clear()  # noqa: SLF001  # as evictions do; clear() would reach the store

    def ask_and_evict() -> None:
        # The plain arm, too, is asked once before: both find the allocator in the same state.
        evict()
        warm.get(key)
        evict()

    def renew(*, cold: bool) -> None:
        for cache in fresh:
            cache.close()
        fresh[:] = [VisionFeatureCache(store=DiskStore(elsewhere if cold else disk))]
        if cold:
            forget(cold_path)

    block = Block()
    block.set_dtype(mx.float32)
    patches = mx.random.normal((value.shape[0] * 4 // 64 * 64, 1280))
    mx.eval(block.parameters(), patches)
    chosen = {
        "memory": (lambda: None, lambda: found(memory.get(key))),
        "plain mmap + copy": (lambda: plain(path), lambda: plain(path)),
        "disk, warm": (ask_and_evict, lambda: found(warm.get(key))),
        "disk, first": (lambda: renew(cold=False), lambda: found(fresh[0].get(key))),
        "plain, cold": (lambda: forget(cold_path), lambda: plain(cold_path)),
        "disk, cold": (lambda: renew(cold=True), lambda: found(fresh[0].get(key))),
        "encode (1 block)": (lambda: None, lambda: mx.eval(block(patches))),
    }
    if url is not None:
        remote = VisionFeatureCache(store=RedisStore(url, timeout=20))
        remote.put(key, value)
        remote.flush()
        chosen["server (loopback)"] = (remote._lru.clear, lambda: found(remote.get(key)))  # noqa: SLF001
    return chosen


def measure(
    chosen: dict[str, tuple[Callable[[], Any], Callable[[], Any]]], trials: int
) -> dict[str, list[float]]:
    """Seconds of every trial, the arms taking turns; the first round warms up and is not kept."""
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for trial in range(trials + 1):
        for name, (prepare, run) in chosen.items():
            if name.startswith("encode") and trial not in range(1, ENCODE_TRIALS + 1):
                continue
            prepare()
            start = time.perf_counter()
            kept = run()
            end = time.perf_counter()
            del kept
            if trial:
                seconds[name].append(end - start)
    return seconds


def main() -> None:
    """Measure, print a table, and write the raw trials if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=21)
    parser.add_argument("--json", type=Path, help="where to write the raw trials")
    parser.add_argument("--no-encode", action="store_true", help="leave out the slowest arm")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        server = start_server(scratch)
        url = None if server is None else f"redis://127.0.0.1:{server[1]}/0"
        try:
            for label, size in SIZES.items():
                chosen = arms(Path(scratch), url, size)
                if options.no_encode:
                    del chosen["encode (1 block)"]
                results[label] = measure(chosen, options.trials)
        finally:
            if server is not None:
                server[0].kill()
                server[0].wait()
    machine = {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "device": str(mx.default_device()),
        "device_name": mx.device_info().get("device_name", ""),
        "mlx": mx.__version__,
        "python": platform.python_version(),
    }
    print("  ".join(f"{name}: {value}" for name, value in machine.items()))
    print(f"{'median ms':22}" + "".join(f"{label:>12}" for label in results))
    for arm in next(iter(results.values())):
        medians = [1e3 * statistics.median(times[arm]) for times in results.values()]
        print(f"{arm:22}" + "".join(f"{median:12.3f}" for median in medians))
    ratios = [
        statistics.median(t["disk, warm"]) / statistics.median(t["plain mmap + copy"])
        for t in results.values()
    ]
    print(f"{'disk, warm / plain':22}" + "".join(f"{ratio:12.2f}" for ratio in ratios))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "seconds": results}, indent=1))


if __name__ == "__main__":
    main()
