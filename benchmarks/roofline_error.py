"""Set the roofline beside what was measured on an H100: seconds of each stage, and the ratio between arms.

    python benchmarks/roofline_error.py

Reads data/results/sessions. Decoding and preprocessing run on the CPU, and the roofline is about the device: the ratio of all
takes them as measured, and the ratio of the device alone leaves them out on both sides.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from visioncache.study.benchmark.result import load_result
from visioncache.study.benchmark.roofline import CHIPS, QWEN25_VL_3B, Chip, Shape, asked, predict
from visioncache.study.data import data_path

H100 = Chip("H100", 989e12, 3.35e12)
"""SXM, dense bfloat16 and memory bandwidth, as NVIDIA's data sheet gives them."""

QWEN25_VL_7B = Shape(
    tower_weights=32 * (4 * 1280**2 + 3 * 1280 * 3420),
    tower_bytes=1.3e9,
    tower_layers=32,
    tower_width=1280,
    patches_per_token=4,
    language_weights=28 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944),
    language_bytes=13e9,
    layers=28,
    width=3584,
    head=152_064 * 3584,
    window=64,
)
"""By its config.json."""

SHAPES = {"qwen2.5-vl-3b": QWEN25_VL_3B, "qwen2.5-vl-7b": QWEN25_VL_7B}
CHAT_TOKENS = 25
"""Of a question and its template, beside each image's."""
HOST = ["decode_s", "preprocess_s", "key_s"]


def roofline_error() -> pd.DataFrame:
    """Compare: a row a model, size and session.

    Columns: `tower` and `prefill` (the share of the roofline's rate that was reached: its seconds over those
    measured), and for the arm with a cache, over the one without, `measured` and `predicted` ratios of sums of TTFT,
    and the same of the device alone, `device_measured` and `device_predicted`.
    """
    rows = []
    for model, shape in SHAPES.items():
        path = data_path("results", "sessions") / f"nvidia-h100-80gb-hbm3-{model}.json"
        turns = load_result(path).turns
        turns = turns[~turns["prompt_cache"].astype(bool)]
        for (size, session), rest in turns.groupby(["size", "session"]):
            rows.append({"model": model, "size": size, "session": session} | _compare(shape, rest))
    return pd.DataFrame(rows)


def predicted_on_macs(model: str = "qwen2.5-vl-7b", session: str = "album") -> pd.DataFrame:
    """Predict how many times as fast a session is on M-series chips: a row a chip, of the GPU alone.

    Prompts, and how many of their tokens prefixes spare, are those of the run in data/results/prefixes.

    Columns: `visioncache`, `visioncache+prefixes`: the seconds without a cache over those of each.
    """
    turns = load_result(data_path("results", "prefixes") / f"nvidia-h100-80gb-hbm3-{model}.json").turns
    turns = turns[(turns["arm"] == "visioncache+prefixes") & (turns["session"] == session)]
    whole = turns.groupby("turn")[["images", "prompt_tokens", "reused_tokens"]].median().astype(int)
    tokens = round((whole["prompt_tokens"] / whole["images"]).median()) - CHAT_TOKENS
    told = predict(SHAPES[model], asked(whole.reset_index(), tokens))
    ratios = told.pivot_table("ratio", "chip", "arm").loc[[chip.name for chip in CHIPS]]
    return 1 / ratios[["visioncache", "visioncache+prefixes"]]


def predicted_alike() -> pd.DataFrame:
    """Predict as `predicted_on_macs`, rounded, with neighbours that are alike in one row: "M1 to M4 Max (11 chips)"."""
    times = predicted_on_macs().round(1)
    run = (times != times.shift()).any(axis=1).cumsum()
    names = times.index.to_series().groupby(run.to_numpy()).agg(list)
    alike = times[~run.duplicated()]
    heads = ["times as fast, features kept", "times as fast, features and prefixes kept"]
    called = [f"{n[0]} to {n[-1]} ({len(n)} chips)" if len(n) > 1 else n[0] for n in names]
    return alike.set_axis(called, axis="index").set_axis(heads, axis="columns")


def _compare(shape: Shape, turns: pd.DataFrame) -> dict[str, Any]:
    medians = turns.groupby(["arm", "turn"]).median(numeric_only=True)
    plain, bound = medians.loc["none"], medians.loc["bound"]
    tokens = round((plain["prompt_tokens"] / plain["images"]).median()) - CHAT_TOKENS
    host = ((plain["decode_s"] + plain["preprocess_s"]) / plain["images"]).median() / tokens
    whole = plain[["images", "prompt_tokens"]].astype(int).assign(reused_tokens=0).reset_index()
    told, device = (
        predict(shape, asked(whole, tokens), [H100], host_s_per_token=seconds).set_index("arm")["ratio"]
        for seconds in (host, 0.0)
    )
    sums = medians["ttft_s"].groupby("arm").sum()
    alone = (medians["ttft_s"] - medians[HOST].sum(axis=1)).groupby("arm").sum()
    prefill = sum(shape.prefill(count).seconds(H100) for count in bound["prompt_tokens"].astype(int))
    return {
        "tower": shape.encode(tokens).seconds(H100) / (plain["tower_s"] / plain["images"]).median(),
        "prefill": prefill / bound["ttft_s"].sum(),
        "measured": sums["visioncache"] / sums["none"],
        "predicted": told["visioncache"],
        "device_measured": alone["visioncache"] / alone["none"],
        "device_predicted": device["visioncache"],
    }


if __name__ == "__main__":
    print(roofline_error().round(3).to_string(index=False))
