"""The demo model as shipped: it loads without a network, is small, and its answers are right."""

from __future__ import annotations

import random
import sys
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_vlm.utils import prepare_inputs

from visioncache import VisionFeatureCache
from visioncache.study.benchmark.demo import demo_model_path, load_model
from visioncache.study.benchmark.run import converse, grade
from visioncache.study.benchmark.sessions import load_session, session_names
from visioncache.vlm import Chat, attach

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))  # not a package

from demo_vlm.batches import KINDS, draw_round
from demo_vlm.model import encode_images
from demo_vlm.pictures import scene
from demo_vlm.scores import HELD_OUT, scores_of

load = cache(load_model)


def test_its_weights_are_at_most_12_megabytes() -> None:
    assert (demo_model_path() / "model.safetensors").stat().st_size <= 12_000_000


def test_held_out_questions_are_answered_exactly() -> None:
    # Of seeds that neither training nor the scores on the model's card have seen.
    scores = scores_of(load()[0], [draw_round(HELD_OUT + 1000, KINDS, uses=1, groups=1)])
    assert scores["answers"]["scene"] >= 100
    assert scores["answers"]["photo"] >= 30
    assert scores["exact"]["scene"] >= 0.95
    assert scores["exact"]["photo"] >= 0.90


def test_scores_are_of_the_tower_that_mlx_vlm_runs() -> None:
    model, processor = load()
    image = scene(random.Random(HELD_OUT)).image
    inputs = prepare_inputs(processor, images=[image], prompts="<|vision_start|><|image_pad|><|vision_end|>")
    features = model.vision_tower(inputs["pixel_values"], inputs["image_grid_thw"])
    ours = encode_images(model.vision_tower, mx.array(np.asarray(image))[None])[0]
    assert mx.allclose(features, ours, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", session_names())
def test_every_answer_that_a_session_expects_is_given(name: str) -> None:
    session = load_session(name)
    model, processor = load()
    held = VisionFeatureCache(max_size=session.max_size)
    with attach(model, processor, held):
        turns = list(converse(session, lambda: Chat(model, processor, held)))
    wrong = [
        f"{turn.question} {turn.text}, not {asked.expect}"
        for turn, asked in zip(turns, session.turns, strict=True)
        if asked.expect is not None and not grade(turn.text, asked.expect)
    ]
    assert not wrong
