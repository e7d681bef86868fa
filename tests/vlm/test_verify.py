"""verify: it says that nothing changes where nothing does, and finds each way of breaking that."""

from __future__ import annotations

import contextvars
import json
import math
import warnings
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
from mlx.utils import tree_map
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.cli import main
from visioncache.data import data_path
from visioncache.stores import StoreWarning, decode, encode, open_store
from visioncache.study.benchmark.demo import load_model
from visioncache.vlm import attach
from visioncache.vlm.patching.instances import is_patched
from visioncache.vlm.verify import compare, trial
from visioncache.vlm.verify.compare import Difference, Verdict, difference, judge
from visioncache.vlm.verify.requests import next_turn, single_requests
from visioncache.vlm.verify.watch import Run, run_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from visioncache.vlm import Attached
    from visioncache.vlm.verify import Verification
    from visioncache.vlm.verify.requests import Request


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    return load_model()


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    names = ("cat.png", "coins.png", "rocket.jpg")
    return [
        Image.open(data_path("images", name)).convert("RGB").resize(size)
        for name, size in zip(names, ((84, 56), (56, 84), (84, 84)), strict=True)
    ]


@pytest.fixture
def attached(demo: tuple[Any, Any]) -> Iterator[Attached]:
    with attach(*demo, VisionFeatureCache()) as attachment:
        yield attachment


def verified(attached: Attached, images: list[Any], **options: Any) -> Verification:
    return attached.verify(images, max_tokens=2, **options)


def test_nothing_changes_with_the_demo_model(attached: Attached, pictures: list[Image.Image]) -> None:
    found = verified(attached, pictures)
    assert [row.request for row in found.rows] == [
        "one image",
        "another question",
        "two images",
        "the two reversed",
        "one image twice",
        "three images",
        "chat, turn 1",
        "chat, turn 2",
        "chat, turn 3",
    ]
    assert [row.images for row in found.rows] == [1, 1, 2, 2, 2, 3, 1, 2, 3]
    assert found.verdict is Verdict.IDENTICAL
    assert not any(apart for row in found.rows for apart in row.apart.values())
    assert found.reused
    assert (found.status, bool(found)) == (0, True)
    assert "identical: the cache changes nothing" in str(found)
    kept = [row for row in found.rows if "miss" not in row.verdicts]
    assert [row.request for row in kept] == ["another question"]  # nothing new is looked at
    assert all(set(row.ttft) == {"plain", "miss", "hit"} for row in found.rows if row not in kept)
    assert set(kept[0].ttft) == {"plain", "hit"}


def test_cache_model_and_processor_are_as_they_were(
    attached: Attached, pictures: list[Image.Image], tmp_path: Path
) -> None:
    model, processor, cache = attached.model, attached.processor, attached.cache
    classes = type(model), type(processor), type(model.language_model)
    cache.put("mine", mx.ones(3))
    before = cache.info(), cache.keys(), len(cache.events), cache.entries()
    counted = attached.stages.totals()
    verified(attached, pictures)
    assert (cache.info(), cache.keys(), len(cache.events), cache.entries()) == before
    assert attached.stages.totals() == counted
    assert attached.is_attached
    assert (type(model).__name__, type(processor).__name__, type(model.language_model)) == (
        classes[0].__name__,
        classes[1].__name__,
        classes[2],
    )
    attached.detach()
    assert not any(map(is_patched, (model, processor, model.language_model)))
    assert verified(attached, pictures[:1])
    assert not attached.is_attached


def test_the_json_has_versions_and_no_names_of_files(attached: Attached, tmp_path: Path) -> None:
    path = tmp_path / "a-private-name.png"
    Image.new("RGB", (56, 56), "teal").save(path)
    found = verified(attached, [path])
    text = found.to_json()
    whole = json.loads(text)
    assert {"chip", "mlx", "mlx_vlm", "visioncache"} <= set(whole["machine"])
    assert whole["family"] == "qwen2_5_vl"
    assert whole["status"] == 0
    assert len(whole["rows"]) == 6  # one, asked otherwise, twice, three turns
    assert "a-private-name" not in text
    assert str(tmp_path) not in text


def test_a_notebook_shows_the_verdict_and_the_table(
    attached: Attached, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = verified(attached, pictures[:1])._repr_html_()
    assert good.startswith("<div")
    assert "<b>identical: the cache changes nothing</b>" in good
    assert good.count("<tr>") == 1 + 6  # a header; one image, asked otherwise, twice, three turns

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("<b>no</b>")

    monkeypatch.setattr(VisionFeatureCache, "_fill", refuse)
    bad = verified(attached, pictures[:1])._repr_html_()
    assert "<b>REFUSED: with the cache this model raises an error: one image, " in bad
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in bad


def with_other_numbers(value: Any) -> Any:
    return tree_map(lambda array: array * 1.5, value)


def with_another_last_bit(value: Any) -> Any:
    def turned(array: mx.array) -> mx.array:
        bits = mx.contiguous(array).reshape(-1).view(mx.uint32 if array.itemsize == 4 else mx.uint16)
        bits[0] = bits[0] ^ 1
        return bits.view(array.dtype).reshape(array.shape)

    return tree_map(turned, value)


WRONG = {
    "other numbers": with_other_numbers,
    "another last bit": with_another_last_bit,
    "not a number": lambda value: tree_map(lambda array: array * mx.nan, value),
}
"""Values that pass for what was stored."""
UNFIT = {
    "fewer tokens": lambda value: tree_map(lambda array: array[:-1], value),
    "another dtype": lambda value: tree_map(lambda array: array.astype(mx.float16), value),
}
"""Values that are not of the shape or type that was stored."""
TORN = {
    "a flipped byte": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "a flipped byte of its header": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "cut short": lambda data: data[:-5],
    "nothing": lambda _: b"",
}
"""Bytes that have lost their checksum."""


def held_of(found: Verification) -> set[Verdict]:
    return {row.verdicts["held"] for row in found.rows if "held" in row.verdicts}


@pytest.mark.parametrize("damage", [*WRONG, *UNFIT])
def test_a_corrupted_entry_in_memory_is_found(
    attached: Attached, pictures: list[Image.Image], damage: str
) -> None:
    hold(attached, pictures[:1])
    assert verified(attached, pictures[:1]).status == 0
    cache = attached.cache
    key = cache.keys()[0]
    entry = cache.entry(key)
    assert entry is not None
    cache.put(key, (WRONG | UNFIT)[damage](cache.peek(key)), meta=entry.meta)
    judge_damage(verified(attached, pictures[:1]), damage)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *(("disk", damage) for damage in [*WRONG, *UNFIT, *TORN]),
        *(("valkey", damage) for damage in ("another last bit", "another dtype", "a flipped byte")),
    ],
)
def test_a_corrupted_entry_in_the_store_is_found_and_a_damaged_one_is_encoded_anew(
    demo: tuple[Any, Any],
    pictures: list[Image.Image],
    tmp_path: Path,
    start_server: Callable[..., Any],
    kind: str,
    damage: str,
) -> None:
    place = str(tmp_path) if kind == "disk" else start_server("valkey").url
    with closing(VisionFeatureCache(store=place)) as cache, attach(*demo, cache) as attached:
        hold(attached, pictures[:1])
        key = cache.keys()[0]
    with closing(open_store(place)) as store:
        data = bytes(store.get(key))
        stored = decode(data)
        made = (
            TORN[damage](data)
            if damage in TORN
            else encode((WRONG | UNFIT)[damage](stored.value), key=stored.key, meta=stored.meta)
        )
        store.put(key, made)
    with closing(VisionFeatureCache(store=place)) as cache, attach(*demo, cache) as attached:
        found = verified(attached, pictures[:1])
        judge_damage(found, damage)
        assert place not in found.to_json() + str(found)
        assert cache.info().misses == 0
        with closing(open_store(place)) as store:
            assert bytes(store.get(key)) == made  # it lies where it lay
    with closing(VisionFeatureCache(store=place)) as cache, attach(*demo, cache) as attached:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreWarning)
            hold(attached, pictures[:1])
        assert attached.stages.totals().counts["tower"] == (damage not in WRONG)
        with closing(open_store(place)) as store:
            assert (bytes(store.get(key)) == made) == (damage in WRONG)


def judge_damage(found: Verification, damage: str) -> None:
    """Check what is said of one damaged entry."""
    assert found.status == 1
    assert all(row.verdicts["hit"] is Verdict.IDENTICAL for row in found.rows)
    assert "from what was held" in str(found)
    if damage in WRONG:
        assert Verdict.DIFFERENT in held_of(found)
        assert found.summary.startswith("DIFFERENT: what was held is not what this model encodes now")
    else:
        assert held_of(found) == {Verdict.IDENTICAL}
        assert found.summary == "the answers are the same, but 1 held entry is damaged, and encoded anew"


def test_a_setting_that_the_processor_hides_is_found(
    demo: tuple[Any, Any], pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind = type(demo[1].image_processor)
    original = kind.__call__

    def processed(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = original(self, images, *args, **kwargs)
        outputs["pixel_values"] = outputs["pixel_values"] * (3.0 if gain.is_symlink() else 1.0)  # in no key
        return outputs

    monkeypatch.setattr(kind, "__call__", processed)
    gain = tmp_path / "gain"
    gain.touch()
    with attach(*demo, VisionFeatureCache()) as attached:
        hold(attached, pictures)
        assert verified(attached, pictures).status == 0
        gain.unlink()
        gain.symlink_to("elsewhere")
        found = verified(attached, pictures)
    assert found.status == 1
    held = {row.verdicts["held"] for row in found.rows if "held" in row.verdicts}
    assert held
    assert held <= {
        Verdict.DIFFERENT,
        Verdict.REFUSED,
    }  # refused where such a request was not compared before


def test_one_image_may_not_differ_by_a_last_bit(
    attached: Attached, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = VisionFeatureCache._fill

    def slightly(self: Any, source: Any, compute: Any, **about: Any) -> Any:
        return fill(self, source, lambda: with_another_last_bit(compute()), **about)

    monkeypatch.setattr(VisionFeatureCache, "_fill", slightly)
    found = verified(attached, pictures)
    verdicts = {row.request: row.verdict for row in found.rows}
    assert verdicts["one image"] is Verdict.DIFFERENT
    assert verdicts["two images"] is Verdict.LAST_BITS  # a tower may sum a batch in another order
    assert found.status == 1
    assert "DIFFERENT: the cache changes what this model is given or answers: one image, " in str(found)
    assert "deviation: the standard deviation of the first token's logits" in str(found)


def test_what_can_not_be_followed_is_not_called_reused(
    demo: tuple[Any, Any], pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(demo[1].image_processor)
    original, setting = kind.__call__, contextvars.ContextVar("setting", default=1.0)

    def processed(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = original(self, images, *args, **kwargs)
        outputs["pixel_values"] = outputs["pixel_values"] * setting.get()
        return outputs

    monkeypatch.setattr(kind, "__call__", processed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attached = attach(*demo, VisionFeatureCache())
    with attached:
        found = verified(attached, pictures[:1])
    assert (found.verdict, found.status) == (Verdict.IDENTICAL, 1)
    assert "the answers are the same, but nothing is cached: " in str(found)


def test_a_hit_that_works_again_is_no_hit(
    attached: Attached, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionFeatureCache, "_get_with_meta", lambda self, key: None)
    found = verified(attached, pictures[:1])
    assert found.verdict is Verdict.IDENTICAL
    assert (found.reused, found.status) == (False, 1)
    assert "the answers are the same, but hits decode, preprocess or encode images again" in str(found)


def test_what_the_cache_refuses_is_told_in_one_line(
    attached: Attached, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("this model\nis not supported")

    monkeypatch.setattr(VisionFeatureCache, "_fill", refuse)
    found = verified(attached, pictures[:1])
    assert (found.verdict, found.status) == (Verdict.REFUSED, 1)
    assert "ValueError: this model is not supported" in str(found).splitlines()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"images": []}, "give paths, URLs or PIL images"),
        ({"images": "a.png"}, "a.png: No such file"),
        ({"images": [b"png"]}, "a bytes is no path, URL or PIL image"),
        ({"prompts": 3}, "at least one question"),
        ({"max_tokens": "x"}, "give a whole number, at least 1"),
        ({"images": ["/no/such.png"]}, "/no/such.png: No such file"),
        ({"prompts": []}, "at least one question"),
        ({"prompts": [3]}, "at least one question"),
    ],
)
def test_bad_input_is_one_line(attached: Attached, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        attached.verify(**arguments)


def test_a_model_alone_or_in_training_is_told_so(demo: tuple[Any, Any], attached: Attached) -> None:
    demo[0].train()
    with pytest.raises(ValueError, match="model.eval"):
        attached.verify()
    demo[0].eval()
    attached.detach()
    with attach(demo[0], None, VisionFeatureCache()) as alone, pytest.raises(ValueError, match="processor"):
        alone.verify()


def hold(attached: Attached, pictures: list[Image.Image]) -> None:
    """Have each picture encoded and kept."""
    from visioncache.vlm import Chat

    with Chat(attached.model, attached.processor, attached.cache, max_tokens=1) as chat:
        chat.ask("What is it?", pictures)
    assert attached.cache.flush()


def test_what_is_not_compared_is_said(
    demo: tuple[Any, Any], pictures: list[Image.Image], tmp_path: Path
) -> None:
    with closing(VisionFeatureCache(store=tmp_path)) as cache:
        with attach(*demo, cache, prefixes="1 GiB") as attached:
            found = verified(attached, pictures[:1])
        assert found.status == 0
        assert "nothing is held of these images for this model" in str(found)
        assert "prefixes are not compared" in str(found)
        assert json.loads(found.to_json())["prefixes"]
        with attach(*demo, cache) as attached:
            hold(attached, pictures[:1])
            found = verified(attached, pictures[:1])
        assert "nothing is held" not in str(found)
        assert "prefixes" not in str(found)


def run_of(given: list[Any], logits: list[float], tokens: tuple[int, ...] = (1,)) -> Run:
    return Run(given=given, logits=mx.array(logits), tokens=list(tokens))


def test_a_difference_is_measured_to_the_bit() -> None:
    one = run_of([mx.array([0.0, 4.0])], [1.0, -1.0])
    assert not difference(one, run_of([mx.array([0.0, 4.0])], [1.0, -1.0]))
    assert difference(one, run_of([mx.array([-0.0, 4.0])], [1.0, -1.0])).given > 0  # zero has two forms
    assert difference(one, run_of([mx.array([1.0, 4.0])], [1.0, -2.0])) == Difference(0.25, 1.0, False, False)
    assert difference(one, run_of([mx.array([0.0])], [1.0, -1.0])).given == math.inf
    assert difference(one, run_of([mx.array([mx.nan, 4.0])], [1.0, -1.0])).given == math.inf
    assert difference(one, run_of([], [1.0, -1.0])).given == math.inf
    assert difference(run_of([mx.array([1])], [1.0]), run_of([mx.array([2])], [1.0])).given == math.inf


@pytest.mark.parametrize("gpu", [False, True])
def test_half_precision_is_more_than_last_bits_of_float32_but_on_a_gpu_that_multiplies_in_tf32(
    gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "on_gpu", lambda: gpu)
    values = mx.random.normal((50, 8), key=mx.random.key(0))
    halved = values.astype(mx.float16).astype(mx.float32)
    assert difference(run_of([values], [1.0, -1.0]), run_of([halved], [1.0, -1.0])).slight is gpu


@pytest.mark.parametrize(
    ("found", "noise", "verdict"),
    [
        (Difference(), Difference(), Verdict.IDENTICAL),
        (Difference(1e-5, 0.02), Difference(), Verdict.LAST_BITS),
        (Difference(1e-5, 0.02, tokens=True), Difference(), Verdict.DIFFERENT),
        (Difference(0.5, 0.02, slight=False), Difference(), Verdict.DIFFERENT),
        (Difference(1e-5, 0.5), Difference(), Verdict.DIFFERENT),
        # Given the same, it answers otherwise: its own doing only where it does so without a cache too.
        (Difference(0.0, 0.5, tokens=True), Difference(), Verdict.DIFFERENT),
        (Difference(0.0, 0.02, tokens=True), Difference(0.0, 0.02, tokens=True), Verdict.IDENTICAL),
    ],
)
def test_what_a_difference_amounts_to(found: Difference, noise: Difference, verdict: Verdict) -> None:
    assert judge(found, noise) is verdict


@pytest.mark.parametrize("alone", [True, False])
def test_tokens_that_the_model_itself_changes_from_run_to_run_are_not_the_caches(
    attached: Attached, pictures: list[Image.Image], alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    def noisy(model: Any, processor: Any, request: Request, max_tokens: int) -> Run:
        run = run_request(model, processor, request, max_tokens)
        assert run.logits is not None
        asked[request.name] += 1
        again, cached = asked[request.name] % 2, is_patched(model)
        run.logits = run.logits + 0.02 * mx.std(run.logits) * mx.cos(mx.arange(run.logits.size)) * again
        if len(request.images) > 1:
            if cached:  # as where a tower sums a batch in another order
                floats = (a * (1 + 1e-6) if mx.issubdtype(a.dtype, mx.floating) else a for a in run.given)
                run.given = list(floats)
            if cached or (alone and not again):
                run.tokens = [*run.tokens[:-1], -1]
        return run

    monkeypatch.setattr(trial, "run_request", noisy)
    found = verified(attached, pictures[:2])
    assert found.noise.tokens is alone
    assert found.verdict is (Verdict.LAST_BITS if alone else Verdict.DIFFERENT)
    assert found.status == (0 if alone else 1)
    assert ("of the deviation, other tokens, as without a cache" in str(found)) is alone
    assert ("DIFFERENT: last bits, which move as images are encoded one by one" in str(found)) is not alone


def test_with_fewer_images_fewer_sets_are_asked_about() -> None:
    names = ["one image", "another question", "one image twice"]
    assert [r.name for r in single_requests(["a"], ["?"])] == names
    turn = next_turn(None, "", ["a"], ["first", "second"])
    following = next_turn(turn, "yes", ["a"], ["first", "second"])
    assert following.images == ("a",)
    assert [message["role"] for message in following.messages] == ["user", "assistant", "user"]
    assert following.messages[-1]["content"] == [{"type": "text", "text": "second"}]


def test_the_command_prints_the_table_and_its_status(
    tmp_path: Path, pictures: list[Image.Image], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for number, picture in enumerate(pictures[:2]):
        paths.append(str(tmp_path / f"{number}.png"))
        picture.save(paths[-1])
    folder = str(data_path("models", "demo-vlm"))
    assert main(["verify", folder, *paths, "--max-tokens", "2"]) == 0
    assert "identical: the cache changes nothing" in capsys.readouterr().out
    assert main(["verify", folder, paths[0], "--max-tokens", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "identical"
    for arguments in (["/no/such/model"], [folder, "/no/such.png"], [folder, "--max-tokens", "0"]):
        assert main(["verify", *arguments]) == 2
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith("visioncache verify: ")
    for arguments in ([""], [folder, ""]):  # as of a variable that is not set
        with pytest.raises(SystemExit, match="2"):
            main(["verify", *arguments])
        assert capsys.readouterr().err.strip().endswith("an empty name")
