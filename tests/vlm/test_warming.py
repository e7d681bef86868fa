"""Warming: the first look at an image is a hit, and nothing is lost over what can't be read."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.study.benchmark.demo import load_model
from visioncache.study.data import data_path
from visioncache.vlm import Chat, attach

PHOTOS = sorted(data_path("images").glob("*.*g"))[:4]


@pytest.fixture(scope="module")
def demo() -> tuple[Any, Any]:
    return load_model()


def test_the_first_look_at_what_was_warmed_is_a_hit(demo: tuple[Any, Any]) -> None:
    cache = VisionFeatureCache()
    with attach(*demo, cache) as attached:
        done = attached.warm(PHOTOS, progress=False)
        assert sorted(done.encoded) == sorted(map(str, PHOTOS))
        turn = Chat(*demo, cache, max_tokens=1).ask("What is it?", [PHOTOS[0]])
        assert (turn.encodes, turn.misses) == (0, 0)
        again = attached.warm(PHOTOS, progress=False)
        assert (len(again.held), again.encoded) == (len(PHOTOS), [])
    assert str(done) == "4 encoded, 0 held already"


def test_a_prompt_is_prefilled_too(demo: tuple[Any, Any]) -> None:
    cache = VisionFeatureCache()
    with attach(*demo, cache, prefixes="1 GiB") as attached:
        assert attached.warm([PHOTOS[0]], "What is it?", progress=False).prefilled > 0
        assert Chat(*demo, cache, max_tokens=1).ask("Where is it?", [PHOTOS[0]]).reused_tokens > 0


def test_the_newest_are_held_when_there_is_no_room_for_all(demo: tuple[Any, Any], tmp_path: Path) -> None:
    files = []
    for age, photo in enumerate(PHOTOS):
        file = tmp_path / photo.name
        file.write_bytes(photo.read_bytes())
        os.utime(file, (1_000_000 - age, 1_000_000 - age))
        files.append(file)
    cache = VisionFeatureCache(2)
    with attach(*demo, cache) as attached:
        done = attached.warm(files[::-1], progress=False)
    assert done.encoded == list(map(str, files[:2]))
    assert done.refused == list(map(str, files[2:]))
    assert [entry.label for entry in cache.entries()] == [str(files[1]), str(files[0])]


def test_a_store_keeps_what_memory_has_no_room_for(demo: tuple[Any, Any], tmp_path: Path) -> None:
    with closing(VisionFeatureCache(1, store=tmp_path)) as cache, attach(*demo, cache) as attached:
        assert len(attached.warm(PHOTOS, progress=False).encoded) == len(PHOTOS)
        assert cache.flush(10)
        assert len(attached.warm(PHOTOS, progress=False).held) == len(PHOTOS)


def test_what_can_not_be_read_is_said_in_a_line_and_loses_nothing(
    demo: tuple[Any, Any], tmp_path: Path
) -> None:
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_bytes(b"not a picture")
    with attach(*demo, VisionFeatureCache()) as attached:
        done = attached.warm([PHOTOS[0], broken, missing, PHOTOS[1]], progress=False)
    assert len(done.encoded) == 2
    assert done.unreadable.keys() == {str(broken), str(missing)}
    assert len(str(done).splitlines()) == 3


def test_what_is_no_image_is_said_in_a_line(demo: tuple[Any, Any]) -> None:
    with PHOTOS[0].open("rb") as stream, attach(*demo, VisionFeatureCache(), prefixes="1 GiB") as attached:
        done = attached.warm([PHOTOS[0], stream], "What is it?", progress=False)
    assert len(done.encoded) == len(done.unreadable) == 1
    assert done.prefilled > 0


def test_an_interrupt_keeps_what_was_done(demo: tuple[Any, Any]) -> None:
    cache = VisionFeatureCache()

    def strike(event: Any) -> None:
        if event.kind == "miss" and len(cache) == 2:
            raise KeyboardInterrupt

    with attach(*demo, cache) as attached:
        stop = cache.subscribe(strike)
        done = attached.warm(PHOTOS, progress=False)
        stop()
    assert done.interrupted
    assert len(done.encoded) == len(cache) == 2


def test_a_chat_shows_images_while_the_question_is_typed(demo: tuple[Any, Any]) -> None:
    cache = VisionFeatureCache()
    plain = Chat(*demo, max_tokens=4).ask("What is it?", [PHOTOS[0]])
    with attach(*demo, cache, prefixes="1 GiB"):
        chat = Chat(*demo, cache, max_tokens=4)
        done = chat.show([PHOTOS[0]])
        assert (len(done.encoded), done.prefilled > 0) == (1, True)
        turn = chat.ask("What is it?")
        assert (turn.images, turn.encodes, turn.tokens) == (1, 0, plain.tokens)
        assert turn.reused_tokens == done.prefilled
        assert chat.ask("Where is it?").images == 1


def test_without_a_processor_there_is_nothing_to_warm(demo: tuple[Any, Any]) -> None:
    with (
        attach(demo[0], None, VisionFeatureCache()) as attached,
        pytest.raises(ValueError, match=r"warm\(\) needs the processor"),
    ):
        attached.warm(PHOTOS)


@pytest.mark.parametrize("kind", [str, Path, Image.open], ids=["text", "path", "PIL"])
def test_an_image_that_is_given_alone_is_one_image(demo: tuple[Any, Any], kind: Any) -> None:
    image = kind(data_path("images", "cat.png"))
    with attach(*demo, VisionFeatureCache()) as attached:
        assert len(attached.warm(image, progress=False).encoded) == 1
        with closing(Chat(*demo, attached.cache, max_tokens=2)) as chat:
            assert len(chat.show(image).held) == 1
            assert (chat.ask("What is this?").images, chat.ask("And this?", image).images) == (1, 2)
    chat = Chat(*demo, None, max_tokens=2)
    assert chat.show(image) is None
    assert chat.ask("What is this?").images == 1


def test_an_opened_picture_that_is_damaged_is_not_shown(demo: tuple[Any, Any], tmp_path: Path) -> None:
    whole = PHOTOS[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with closing(Chat(*demo, VisionFeatureCache(), max_tokens=2)) as chat:
        done = chat.show([PHOTOS[1], Image.open(tmp_path / "cut.jpg")])
        assert [Path(name).name for name in done.unreadable] == ["cut.jpg"]
        assert chat.ask("What is it?").images == 1


@pytest.mark.parametrize("cached", [True, False])
def test_a_branch_has_the_images_that_were_shown(demo: tuple[Any, Any], cached: bool) -> None:
    with closing(Chat(*demo, VisionFeatureCache() if cached else None, max_tokens=2)) as chat:
        chat.show(PHOTOS[0])
        branch = chat.branch()
        assert branch.ask("What is it?").images == chat.ask("What is it?").images == 1
        assert branch.ask("And now?").images == 1


def test_what_can_not_be_warmed_now_is_said(demo: tuple[Any, Any]) -> None:
    with attach(*demo, VisionFeatureCache()) as attached:
        with attached.bypass(), pytest.raises(RuntimeError, match="nothing can be warmed: it is bypassed"):
            attached.warm(PHOTOS)
        demo[0].vision_tower.train()
        with pytest.raises(RuntimeError, match=r"training mode, which model.eval\(\) ends"):
            attached.warm(PHOTOS)
        chat = Chat(*demo, attached.cache, max_tokens=2)
        assert chat.show(PHOTOS[0]) is None
        assert chat.ask("What is it?").images == 1
        demo[0].eval()
        for images in (None, 3):
            with pytest.raises(TypeError, match=f"images={images}: give a path"):
                attached.warm(images)
    with pytest.raises(RuntimeError, match=r"the model is detached, and attach\(\) attaches it again"):
        attached.warm(PHOTOS)
