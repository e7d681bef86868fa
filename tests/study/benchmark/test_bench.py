"""bench and the demo model: the whole path, on real photographs."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pandas as pd
import pytest
import zoo
from harness import embedded, prepared

from visioncache import VisionFeatureCache
from visioncache.study.benchmark.arms import ARMS, observed
from visioncache.study.benchmark.demo import load_model
from visioncache.study.benchmark.result import BenchResult, load_result
from visioncache.study.benchmark.run import bench
from visioncache.study.benchmark.sessions import load_session
from visioncache.study.data import data_path
from visioncache.study.sim.granularity import compare_granularity
from visioncache.study.trace.lookups import requests
from visioncache.study.trace.traces import trace_frame
from visioncache.vlm import Chat, attach
from visioncache.vlm.timing import Stages

if TYPE_CHECKING:
    from pathlib import Path

CAT, ROCKET = data_path("images", "cat.png"), data_path("images", "rocket.jpg")


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return load_model()


@pytest.fixture(scope="module")
def result(loaded: tuple[Any, Any]) -> BenchResult:
    album = load_session("album")
    return bench(*loaded, [replace(album, turns=album.turns[:4])], progress=False)


def test_every_arm_answers_with_the_same_tokens(result: BenchResult) -> None:
    assert list(result.turns["arm"].unique()) == list(ARMS)
    assert result.tokens_equal


def test_the_demo_model_answers_the_album_rightly(result: BenchResult) -> None:
    assert result.turns["correct"].mean() == 1.0


def test_ours_encodes_each_image_once_and_mlx_vlms_every_image_every_turn(result: BenchResult) -> None:
    encodes = result.turns.groupby("arm")["encodes"].sum()
    assert encodes["visioncache"] == 2
    assert encodes["mlx-vlm"] == encodes["none"] == 6
    assert encodes["bound"] == 0


@pytest.mark.parametrize("family", ["qwen2_vl", "smolvlm"])  # a flat list of images, and one a prompt
def test_images_are_counted_however_a_processor_is_given_them(family: str) -> None:
    tiny, stages = zoo.build(family), Stages()
    with observed(tiny.model, tiny.processor, stages):
        embedded(tiny, prepared(tiny, zoo.photos()))
    assert stages.totals().counts["preprocess"] == stages.totals().counts["tower"] == 3


def test_a_turn_without_a_new_image_does_no_vision_work(result: BenchResult) -> None:
    ours = result.turns[result.turns["arm"] == "visioncache"]
    old = ours[ours["turn"].isin([2, 4])]
    for column in ("decode_s", "preprocess_s", "tower_s", "encodes"):
        assert (old[column] == 0).all()


def test_a_result_survives_its_file(result: BenchResult, tmp_path: Path) -> None:
    again = load_result(result.save(tmp_path / "r.json"))
    assert again.turns["ttft_s"].tolist() == pytest.approx(result.turns["ttft_s"].tolist())
    assert again.machine["blas"]
    (tmp_path / "other.json").write_text(json.dumps({"turns": []}))
    with pytest.raises(ValueError, match="is not a result of `visioncache bench`"):
        load_result(tmp_path / "other.json")


def test_what_was_measured_is_kept_when_a_later_image_is_broken(
    loaded: tuple[Any, Any], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(ROCKET.read_bytes()[:20_000])
    album = load_session("album")
    good = replace(album, turns=album.turns[:1])
    bad = replace(album, name="bad", turns=(replace(album.turns[0], images=(broken,)),))
    kept: list[int] = []
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        bench(
            *loaded,
            [good, bad],
            arms=["visioncache"],
            progress=False,
            keep=lambda r: kept.append(len(r.turns)),
        )
    assert kept == [1]


def test_an_unknown_arm_is_named(loaded: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="no arm 'nine'; there are: none, mlx-vlm"):
        bench(*loaded, ["album"], arms=["nine"])


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"arms": "none"}, "arms='none': give a list"),
        ({"arms": ["none", "none"]}, "'none' is asked for twice"),
        ({"trials": 0}, "trials=0: at least 1"),
        ({"max_tokens": -3}, "max_tokens=-3: at least 1"),
        ({"sessions": []}, "no session to run"),
        ({"sessions": ["albun"]}, "albun"),
    ],
)
def test_what_cannot_be_measured_is_said_first(
    loaded: tuple[Any, Any], asked: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValueError, match=line):
        bench(*loaded, **{"sessions": ["album"], "progress": False, **asked})


def test_an_attached_model_is_measured_as_if_it_were_not(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    cache, album = VisionFeatureCache(), load_session("album")
    with Chat(model, processor, cache) as chat:
        chat.ask("What is this?", [CAT])
        before = cache.info()
        result = bench(model, processor, [replace(album, turns=album.turns[:2])], progress=False)
        encodes = result.turns.groupby("arm")["encodes"].sum()
        assert (encodes["none"], encodes["visioncache"]) == (2, 1)
        assert cache.info() == before
        assert chat.ask("Is this image an animal?").hits == 1


def test_every_trial_begins_with_another_arm(loaded: tuple[Any, Any]) -> None:
    arms = ["none", "visioncache"]
    page = load_session("page")
    turns = bench(*loaded, [replace(page, turns=page.turns[:1])], arms=arms, trials=3, progress=False).turns
    assert list(turns["arm"]) == [*arms, *arms[::-1], *arms]
    assert list(turns["trial"]) == [0, 0, 1, 1, 2, 2]


def test_runs_of_other_sizes_and_prompt_caches_are_rows_of_their_own(result: BenchResult) -> None:
    small = result.turns.assign(size="640x480", prompt_cache=False)
    large = small.assign(size="1280x960", ttft_s=2 * small["ttft_s"])
    both = BenchResult(pd.concat([small, large, large.assign(prompt_cache=True)]), result.machine)
    alone, table = result.summary(), both.summary()
    assert len(table) == 3 * len(alone)
    assert list(table["turns"].unique()) == [4]
    of_one = table[(table["size"] == "640x480")]
    assert of_one["ttft_s"].tolist() == pytest.approx(alone["ttft_s"].tolist())
    assert "1280x960" in both.table()


def test_a_chat_that_nothing_observes_counts_nothing(loaded: tuple[Any, Any]) -> None:
    turn = Chat(*loaded).ask("What is this?", [CAT])
    assert (turn.encodes, turn.seconds) == (None, {})
    assert "no cache" in str(turn)
    chat = Chat(*loaded, VisionFeatureCache())
    assert chat.ask("What is this?", [CAT]).encodes == 1
    chat.close()
    assert chat.ask("Is this image an animal?").encodes is None


def test_branches_go_on_independently(loaded: tuple[Any, Any]) -> None:
    cache = VisionFeatureCache()
    with Chat(*loaded, cache) as chat:
        chat.ask("What is this?", [CAT])
        other = chat.branch()
        assert other.ask("What is this?", [ROCKET]).text.strip() == "rocket"
        assert chat.ask("What is this?").text.strip() == "cat"
        assert (len(chat.turns), len(other.turns)) == (2, 2)
        assert "rocket" not in chat.transcript
    assert cache.info().misses == 2


def test_a_chat_leaves_a_trace_that_tells_its_requests_and_tokens(loaded: tuple[Any, Any]) -> None:
    cache = VisionFeatureCache()
    with Chat(*loaded, cache, max_tokens=1) as chat:
        chat.ask("What is this?", [CAT])
        chat.ask("Is this image an animal?", [ROCKET])
        branch = chat.branch()
        branch.ask("Is this image an animal?")
        with cache.tag(session="mine"):
            Chat(*loaded, cache, max_tokens=1, session="theirs").ask("What is this?", [CAT])
    trace = trace_frame(cache.events)
    assert chat.session != branch.session
    assert trace.drop_duplicates(["session", "turn"])[["session", "turn"]].to_numpy().tolist() == [
        [chat.session, 1],
        [chat.session, 2],
        [branch.session, 3],
        ["mine", 1],
    ]
    assert set(trace.loc[trace["outcome"] != "miss", "tokens"]) == {24}
    assert trace.loc[trace["outcome"] == "miss", "tokens"].isna().all()
    assert cache.tags == {}
    assert set(requests(trace)["tokens"]) == {24}
    encodes = compare_granularity(trace, ["1 MiB"]).set_index("granularity")["encodes"]
    assert encodes.to_dict() == {"image": 2, "request": 3}


def test_a_failing_turn_leaves_the_chat_as_it_was(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    with Chat(*loaded, VisionFeatureCache()) as chat:
        chat.ask("What is this?", [CAT])
        with pytest.raises(ValueError, match=r"nothing\.png"):
            chat.ask("What is this?", [tmp_path / "nothing.png"])
        again = chat.ask("Is this image an animal?")
        assert (again.index, again.images, again.text.strip()) == (2, 1, "yes")


def test_a_replaced_picture_is_noticed_by_the_prompt_cache(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(CAT.read_bytes())
    with Chat(*loaded, VisionFeatureCache(), prompt_cache=True) as chat:
        chat.ask("What is this?", [picture])
        kept = chat.ask("Is this image an animal?")
        assert kept.reused_tokens > 0
        assert kept.text.strip() == "yes"
        picture.write_bytes(ROCKET.read_bytes())
        assert chat.ask("Is this image an animal?").reused_tokens == 0


def test_accounted_bytes_are_the_bytes_that_mlx_holds(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    cache = VisionFeatureCache(max_size=60)
    rng = mx.random.key(3)
    with attach(model, None, cache):
        grid = mx.array([[1, 8, 8]])
        patch = 2 * 3 * model.config.vision_config.patch_size**2
        ids = mx.array([[model.config.image_token_id] * 16])
        mx.eval(ids)
        gc.collect()  # earlier tests' arrays must not go while this one counts
        mx.synchronize()
        mx.clear_cache()  # a buffer of theirs that is used again counts whole
        before = mx.get_active_memory()
        for _ in range(50):
            rng, draw = mx.random.split(rng)
            pixels = mx.random.normal((64, patch), key=draw)
            model.get_input_embeddings(ids, pixels, image_grid_thw=grid)
            del pixels, draw
        grown = mx.get_active_memory() - before
        assert len(cache) == 50
        assert grown == pytest.approx(cache.info().nbytes, rel=0.02)
        cache.clear()
        assert mx.get_active_memory() - before <= 0.02 * grown


def test_arms_with_a_prompt_cache_answer_as_without_and_read_less(loaded: tuple[Any, Any]) -> None:
    model, processor = loaded
    session = load_session("scenes")
    arms = ["none", "visioncache"]
    without = bench(model, processor, [session], arms=arms, progress=False).turns
    kept = bench(model, processor, [session], arms=arms, prompt_cache=True, progress=False).turns
    assert list(kept["answer"]) == list(without["answer"])
    assert kept["prompt_cache"].all()
    assert not without["prompt_cache"].any()
    assert kept["reused_tokens"].sum() > 0 == without["reused_tokens"].sum()
    # An image whose keys and values are kept is not encoded again, whatever the arm.
    assert kept[kept["arm"] == "none"]["encodes"].sum() < without[without["arm"] == "none"]["encodes"].sum()
