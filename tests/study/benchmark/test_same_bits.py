"""Scripts about bits and first looks measure the demo model, and what they published is right."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import miss_cost
import mlx.core as mx
import pandas as pd
import pytest
import same_bits
from attention import repeatable_attention

from visioncache.study.data import data_path

if TYPE_CHECKING:
    from pathlib import Path

SAME_AS_NONE = {"qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen3-vl-4b", "gemma-3-4b"}
"""Published models that are given, at 1280x960, the bits that they are given without a cache."""
PUBLISHED = [json.loads(path.read_text()) for path in sorted(data_path("results", "bits").glob("*.json"))]
REPEATED = [result for result in PUBLISHED if result["attention"] == "same"]


def bits_of_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    command = ["same_bits.py", "--size", "84x56", "--trials", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    same_bits.main()
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    assert len(result["runs"]) == len(same_bits.ARMS) * 2 * 8
    return pd.DataFrame(result["turns"])


@pytest.mark.usefixtures("small_shape")
def test_the_demo_model_is_given_the_same_bits_with_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = bits_of_the_demo(tmp_path, monkeypatch)
    assert turns["turn"].tolist() == list(range(1, 9))
    assert turns[["given_as_none", "logits_as_none"]].all(axis=None)
    assert (turns[["given_most", "logits_most", "tokens"]] == 1).all(axis=None)
    assert (turns["apart"] == 0).all()


@pytest.mark.usefixtures("small_shape")
def test_a_last_bit_that_differs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from visioncache.vlm.request import embedding as features

    original = features.owned

    def off_by_a_bit(value: Any) -> Any:
        own = original(value)
        bits = own.view(mx.uint32)
        return original((bits ^ (mx.arange(bits.size) == 0).reshape(bits.shape)).view(own.dtype))

    monkeypatch.setattr(features, "owned", off_by_a_bit)
    turns = bits_of_the_demo(tmp_path, monkeypatch)
    assert not turns["given_as_none"].any()
    assert (turns["given_most"] == 1).all()  # off by the same bit every time


def test_runs_that_do_not_repeat_are_told() -> None:
    rows = [
        {"size": "84x56", "session": "album", "turn": 1, "images": 1, "arm": arm, "trial": trial}
        | {"tokens": [token], "given": "a", "logits": logits, "gap": 0.5 - trial / 4, "deviation": 1.0}
        for arm, trial, logits, token in [
            ("none", 0, "x", 3),
            ("none", 1, "y", 4),
            ("visioncache", 0, "x", 3),
            ("visioncache", 1, "x", 3),
        ]
    ]
    (turn,) = same_bits.summary(pd.DataFrame(rows), lambda *which: len(set(which[1:])) - 1).to_dict("records")
    assert turn["given_most"] == 1
    assert turn["given_as_none"]
    assert turn["logits_most"] == 2
    assert not turn["logits_as_none"]
    assert turn["apart"] == 1
    assert turn["gap"] == 0.25
    assert turn["tokens"] == 2


@pytest.mark.parametrize("result", PUBLISHED, ids=lambda result: f"{result['model']}-{result['attention']}")
def test_a_published_model_is_given_the_same_bits_every_time(result: dict[str, Any]) -> None:
    turns = pd.DataFrame(result["turns"])
    assert (turns["given_most"] == 1).all()
    # What a tower makes of several images in one batch may be off by last bits from one by one.
    same = (turns["images"] == 1) | ((turns["size"] == "1280x960") & (result["model"] in SAME_AS_NONE))
    assert turns["given_as_none"][same].all()
    assert result["machine"]["chip"]


@pytest.mark.parametrize("result", REPEATED, ids=lambda result: result["model"])
def test_a_published_model_answers_the_same_where_attention_repeats(result: dict[str, Any]) -> None:
    turns = pd.DataFrame(result["turns"])
    assert (turns["logits_most"] == 1).all()
    same = turns["given_as_none"]
    assert turns["logits_as_none"][same].all()
    assert (turns["apart"][same] == 0).all()
    others = turns["tokens"] > 1
    # A tie, which last bits decide: of logits, or of the log-probabilities (near -9, in bfloat16) that mlx-vlm picks from.
    assert (turns["gap"][others] < turns["apart"][others].clip(lower=2**-4)).all()


def test_every_published_session_has_its_bits() -> None:
    sessions = {path.stem for path in data_path("results", "sessions").glob("*.json")}
    assert sessions <= {path.stem for path in data_path("results", "bits").glob("*.json")}


def test_masked_attention_is_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys, values = (mx.random.normal((1, 4, length, 8)) for length in (1, 9, 9))
    original = mx.fast.scaled_dot_product_attention
    expected = original(queries, keys, values, scale=0.5)
    seen: list[Any] = []

    def watched(*args: Any, mask: Any = None, **options: Any) -> Any:
        seen.append(mask)
        return original(*args, mask=mask, **options)

    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", watched)
    with repeatable_attention() as about:
        assert about == ""  # no CUDA here
        mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.5)
    monkeypatch.setattr(mx.cuda, "is_available", lambda: True)
    with repeatable_attention() as about:
        masked = [
            mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.5, mask=mask)
            for mask in (None, "causal")
        ]
        mx.fast.scaled_dot_product_attention(keys, keys, values, scale=0.5, mask="causal")
    assert about
    assert mx.fast.scaled_dot_product_attention is watched
    assert seen[0] is None
    assert seen[1].shape == seen[2].shape == (1, 1, 1, 9)
    assert seen[3] == "causal"
    assert all(mx.allclose(one, expected, atol=1e-6) for one in masked)


def test_first_looks_are_measured_in_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rounds, size in (("1", ["--size", "84x56"]), ("1", []), ("2", ["--size", "84x56"])):
        command = ["miss_cost.py", "--rounds", rounds, "--out", str(tmp_path), *size]
        monkeypatch.setattr(sys, "argv", command)
        miss_cost.main()
    (path,) = tmp_path.glob("*.json")
    runs = {run["size"]: run for run in json.loads(path.read_text())["runs"]}
    assert len(runs["84x56"]["pairs_s"]) == 2 * 4
    assert len(runs["as shipped"]["pairs_s"]) == 4
    assert all(run["ratio"] > 0 for run in runs.values())
