"""attach on a tiny Qwen2.5-VL: identities, faults, threads, and what must never hit."""

from __future__ import annotations

import contextlib
import http.server
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm.utils
import pytest
import zoo
from harness import embedded, greedy, prepared, same
from mlx import nn
from mlx.utils import tree_map
from mlx_vlm.trainer.peft.utils import get_peft_model
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.vlm import attach, fingerprint
from visioncache.vlm.sources import SourceImage, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B, C = zoo.photos()


@pytest.fixture
def tiny() -> zoo.Tiny:
    return zoo.build("qwen2_5_vl")


@pytest.fixture
def cache() -> VisionFeatureCache:
    return VisionFeatureCache()


def asked(tiny: zoo.Tiny, cache: VisionFeatureCache, *images: Any) -> tuple[int, int]:
    """Hits and misses of one question, the model attached for it alone."""
    with attach(tiny.model, tiny.processor, cache), cache.watch() as delta:
        embedded(tiny, prepared(tiny, images))
    return delta.hits, delta.misses


def test_the_same_model_hits_when_it_is_attached_again(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    assert asked(tiny, cache, A) == (0, 1)
    assert asked(tiny, cache, A) == (1, 0)
    assert asked(zoo.build("qwen2_5_vl"), cache, A) == (1, 0)


# What must never hit ------------------------------------------------------------------------------


def test_another_checkpoint_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    assert asked(zoo.build("qwen2_5_vl", seed=1), cache, A) == (0, 1)


def test_another_dtype_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    tiny.model.set_dtype(mx.float16)
    assert asked(tiny, cache, A) == (0, 1)


def test_a_quantised_tower_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    nn.quantize(
        tiny.model.vision_tower,
        group_size=32,
        class_predicate=lambda _, m: hasattr(m, "to_quantized") and m.weight.shape[-1] % 32 == 0,
    )
    plain = greedy(tiny, [A])
    assert asked(tiny, cache, A) == (0, 1)
    with attach(tiny.model, tiny.processor, cache):
        assert greedy(tiny, [A]) == plain
    assert asked(tiny, cache, A) == (1, 0)


def test_an_adapter_on_the_vision_side_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    linear = tiny.model.vision_tower.blocks[0].mlp.down_proj

    class Adapter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.scale = linear, 2.0

        def __call__(self, x: mx.array) -> mx.array:
            return self.linear(x) * self.scale

    tiny.model.vision_tower.blocks[0].mlp.down_proj = Adapter()
    assert asked(tiny, cache, A) == (0, 1)


def test_mlx_vlms_own_lora_on_the_vision_side_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    name = "vision_tower.blocks.0.mlp.down_proj"
    get_peft_model(tiny.model, [name], rank=2, alpha=8, dropout=0, verbose=False)
    tiny.model.eval()
    assert asked(tiny, cache, A) == (0, 1)
    with attach(tiny.model, tiny.processor, cache), cache.watch() as delta:
        adapter = tiny.model.vision_tower.blocks[0].mlp.down_proj
        adapter.update(tree_map(lambda weight: weight + 0.5, adapter.trainable_parameters()))
        adapted = embedded(tiny, prepared(tiny, [A]))
    assert (delta.hits, delta.misses) == (0, 1)
    assert same(adapted, embedded(tiny, prepared(tiny, [A])))


def test_lora_on_the_language_side_changes_no_feature(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    layer = "language_model.model.layers.0.mlp.down_proj"
    get_peft_model(tiny.model, [layer], rank=2, alpha=8, dropout=0, verbose=False)
    tiny.model.eval()
    assert asked(tiny, cache, A) == (1, 0)


def test_another_setting_of_the_processor_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    tiny.processor.image_processor.image_mean = [0.4, 0.5, 0.5]
    assert asked(tiny, cache, A) == (0, 1)


def test_a_setting_of_the_call_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    with attach(tiny.model, tiny.processor, cache), cache.watch() as delta:
        mlx_vlm.utils.prepare_inputs(
            tiny.processor, images=[A], prompts=tiny.prompt(1), max_pixels=20 * 14**2
        )
    assert (delta.hits, delta.misses) == (0, 1)


def test_another_resize_shape_never_hits(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    asked(tiny, cache, A)
    with attach(tiny.model, tiny.processor, cache), cache.watch() as delta:
        for shape in ((60, 60), (90, 90), (60, 60)):
            inputs = mlx_vlm.utils.prepare_inputs(
                tiny.processor, images=[A], prompts=tiny.prompt(1), resize_shape=shape
            )
            embedded(tiny, inputs)
    assert (delta.hits, delta.misses) == (1, 2)


def test_another_version_of_mlx_vlm_never_hits(
    tiny: zoo.Tiny, cache: VisionFeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(tiny, cache, A)
    monkeypatch.setattr(fingerprint, "version", lambda _: "0.7.11")
    assert asked(tiny, cache, A) == (0, 1)


def test_another_setting_of_the_vision_side_never_hits(
    tiny: zoo.Tiny, cache: VisionFeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(tiny, cache, A)
    monkeypatch.setattr(tiny.model.config.text_config, "rope_theta", 5.0)
    assert asked(tiny, cache, A) == (1, 0)
    monkeypatch.setattr(tiny.model.config, "vision_feature_layer", -3)
    assert asked(tiny, cache, A) == (0, 1)


def test_weights_that_change_while_attached_are_noticed(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache):
        embedded(tiny, prepared(tiny, [A]))
        merger = tiny.model.vision_tower.merger
        tiny.model.update({"vision_tower": {"merger": {"ln_q": {"weight": merger.ln_q.weight * 2}}}})
        changed = embedded(tiny, prepared(tiny, [A]))
    assert cache.info().misses == 2
    assert same(changed, embedded(tiny, prepared(tiny, [A])))


def test_a_value_that_is_not_what_was_stored_is_dropped_and_encoded_again(
    tiny: zoo.Tiny, cache: VisionFeatureCache
) -> None:
    with attach(tiny.model, tiny.processor, cache) as attached:
        right = embedded(tiny, prepared(tiny, [A]))
        entry = cache.entries()[0]
        cache.put(entry.key, mx.zeros((3, 48)), meta=entry.meta)
        assert same(embedded(tiny, prepared(tiny, [A])), right)
        assert attached.stages.totals().counts["tower"] == 2


def test_pixels_that_were_changed_on_their_way_are_refused(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache):
        embedded(tiny, prepared(tiny, [A]))
        inputs = prepared(tiny, [A])
        inputs["pixel_values"] = inputs["pixel_values"] * 1.0
        with pytest.raises(ValueError, match="changed on its way"):
            embedded(tiny, inputs)


# Where images come from ---------------------------------------------------------------------------


def test_a_path_that_is_overwritten_is_another_image(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    with attach(tiny.model, tiny.processor, cache):
        A.save(path)
        first = greedy(tiny, [str(path)])
        B.save(path)
        second = greedy(tiny, [str(path)])
    assert cache.info().misses == 2
    assert (first, second) == (greedy(tiny, [A]), greedy(tiny, [B]))


def test_a_copy_under_another_name_is_the_same_image(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path
) -> None:
    for name in ("one.png", "two.png"):
        A.save(tmp_path / name)
    assert asked(tiny, cache, str(tmp_path / "one.png")) == (0, 1)
    assert asked(tiny, cache, str(tmp_path / "two.png")) == (1, 0)


def test_the_bytes_that_were_identified_are_the_bytes_that_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    A.save(path)
    source = open_source(str(path), transpose=True)
    B.save(path)
    assert source.convert("RGB").tobytes() == A.tobytes()


def test_a_rotated_photo_is_turned_as_mlx_vlm_turns_it(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    B.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    path = str(tmp_path / "turned.jpg")
    by_path, by_picture = (embedded(tiny, prepared(tiny, [image])) for image in (path, Image.open(path)))
    assert not same(by_path, by_picture)
    with attach(tiny.model, tiny.processor, cache):
        assert same(embedded(tiny, prepared(tiny, [path])), by_path)
        assert same(embedded(tiny, prepared(tiny, [Image.open(path)])), by_picture)
    assert cache.info().misses == 2


def test_a_picture_that_was_only_opened_is_not_decoded_on_a_hit(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path
) -> None:
    A.save(tmp_path / "a.png")
    asked(tiny, cache, Image.open(tmp_path / "a.png"))
    opened = Image.open(tmp_path / "a.png")
    assert asked(tiny, cache, opened) == (1, 0)
    assert opened.tile, "its pixels were read"


def test_a_picture_in_memory_is_identified_by_its_pixels(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    grey = A.convert("L")
    assert asked(tiny, cache, A) == (0, 1)
    assert asked(tiny, cache, A.copy()) == (1, 0)
    assert asked(tiny, cache, grey) == (0, 1)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    asked_for: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            asked_for.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked_for
        server.shutdown()


@pytest.mark.parametrize(("trusted", "downloads"), [(False, 2), (True, 1)])
def test_a_url_is_its_content_unless_it_is_trusted(
    tiny: zoo.Tiny, cache: VisionFeatureCache, tmp_path: Path, *, trusted: bool, downloads: int
) -> None:
    A.save(tmp_path / "a.png")
    with (
        served(tmp_path) as (url, asked_for),
        attach(tiny.model, tiny.processor, cache, trust_urls=trusted),
    ):
        for _ in range(2):
            embedded(tiny, prepared(tiny, [f"{url}/a.png"]))
    assert (cache.info().hits, cache.info().misses) == (1, 1)
    assert len(asked_for) == downloads


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_header_tells_a_size_without_decoding(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    A.save(tmp_path / "a.jpg", exif=exif)
    source = open_source(str(tmp_path / "a.jpg"), transpose=True)
    told = source.size
    assert not source.decoded
    assert source.convert("RGB").size == told
    B.save(tmp_path / "a.jpg")
    source.load()
    assert source.size == told == (A.size if orientation == 1 else A.size[::-1])


def test_a_png_is_decoded_for_its_size_as_its_orientation_may_stand_at_its_end(tmp_path: Path) -> None:
    A.save(tmp_path / "a.png")
    source = open_source(str(tmp_path / "a.png"), transpose=True)
    assert source.size == A.size
    assert source.decoded


def test_a_source_image_is_decoded_when_its_pixels_are_touched() -> None:
    source = open_source(A, transpose=False)
    assert isinstance(source, SourceImage)
    assert not source.decoded
    assert source.resize((8, 8)).size == (8, 8)
    assert source.decoded


# Faults and threads -------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_fault_inside_the_tower_leaves_nothing_half_stored(
    tiny: zoo.Tiny, cache: VisionFeatureCache, fault: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = type(tiny.model.vision_tower.blocks[1])
    plain = greedy(tiny, [A])
    with attach(tiny.model, tiny.processor, cache):
        with monkeypatch.context() as patch:

            def fail(*_: Any, **__: Any) -> None:
                raise fault

            patch.setattr(block, "__call__", fail)
            with pytest.raises(type(fault)):
                greedy(tiny, [A])
        assert len(cache) == 0
        assert greedy(tiny, [A]) == plain


def test_two_threads_encode_an_image_once(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache) as attached:
        inputs = [prepared(tiny, [A, B]) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda given: embedded(tiny, given), inputs))
        assert attached.stages.totals().counts["tower"] == 2
    assert all(same(result, results[0]) for result in results)


def test_what_one_thread_prepared_another_can_embed(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    """As mlx-vlm's server does; what is left lazy in one thread can't be evaluated in another."""
    with attach(tiny.model, tiny.processor, cache), ThreadPoolExecutor(1) as pool:
        for images in ([A, B], [A], [C, A], [A, B, C]):
            inputs = prepared(tiny, images)
            other = pool.submit(lambda given: mx.eval(given) or embedded(tiny, given), inputs).result()
            assert same(other, embedded(tiny, prepared(tiny, images)))


def test_an_eviction_between_processor_and_model_takes_nothing_away(tiny: zoo.Tiny) -> None:
    cache = VisionFeatureCache(max_size=1)
    plain = greedy(tiny, [A, B, C])
    with attach(tiny.model, tiny.processor, cache):
        for _ in range(3):
            assert greedy(tiny, [A, B, C]) == plain
        inputs = prepared(tiny, [C])
        cache.clear()
        assert same(embedded(tiny, inputs), embedded(tiny, prepared(tiny, [C])))


def test_training_and_bypass_leave_the_cache_alone(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    with attach(tiny.model, tiny.processor, cache) as attached:
        tiny.model.train()
        embedded(tiny, prepared(tiny, [A]))
        tiny.model.eval()
        with attached.bypass():
            embedded(tiny, prepared(tiny, [A]))
        assert cache.info().hits == cache.info().misses == len(cache) == 0


def test_mlx_vlms_own_cache_beside_ours_changes_nothing(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    inputs = prepared(tiny, [A])
    plain = embedded(tiny, dict(inputs))
    with attach(tiny.model, tiny.processor, cache):
        theirs = mlx_vlm.VisionFeatureCache()
        for image in (A, B, A):
            given = prepared(tiny, [image])
            ours = embedded(tiny, {**given, "vision_cache": theirs, "_image_key": "x"})
        assert same(ours, plain)
        assert len(theirs) == 0


def test_an_unsupported_model_is_named() -> None:
    with pytest.raises(ValueError, match="'Linear' are not supported"):
        attach(nn.Linear(2, 2), None, VisionFeatureCache())


def test_detach_restores_mlx_vlms_own_function(tiny: zoo.Tiny, cache: VisionFeatureCache) -> None:
    before = mlx_vlm.utils.process_image
    with attach(tiny.model, tiny.processor, cache):
        assert mlx_vlm.utils.process_image is not before
    assert mlx_vlm.utils.process_image is before
