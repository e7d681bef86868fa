"""Make the traces of data/traces: workloads at scale, seeded, so that they can be made again byte for byte.

python tools/make_traces.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from visioncache.study import convert, fit, workload
from visioncache.study.data import data_path

RECORDED = sorted(data_path("sessions", "traces").glob("*.jsonl"))

MADE = {
    "catalogue-50k": lambda: workload("catalogue", 0, requests=34_000, items=6000, users=400, rate=5.0),
    "chats-50k": lambda: workload("interleaved", 0, sessions=850),
    "demo-sessions-20k": lambda: fit(RECORDED).generate(0, sessions=640),
}


def make(folder: Path) -> None:
    """Write every trace into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, trace in MADE.items():
        made = trace()
        # Costs to four digits and times to a millisecond: more is noise, and takes room.
        costs = {
            column: made[column].map("{:.4g}".format).astype(float)
            for column in ("seconds", "decode_s", "preprocess_s", "tower_s")
            if column in made
        }
        made = made.assign(
            key=made["key"].str.lstrip("0").replace("", "0"), time=made["time"].round(3), **costs
        )
        print(name, convert(made, folder / f"{name}.csv.gz", "csv"))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else data_path("traces"))
