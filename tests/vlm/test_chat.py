"""Chat with kept keys and values: what is compared with earlier turns is what the model sees."""

from __future__ import annotations

import http.server
import io
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx_vlm
import numpy as np
import pytest
import zoo
from PIL import Image

from visioncache import VisionFeatureCache
from visioncache.vlm import Chat, attach

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = Path(__file__).resolve().parents[2] / "data" / "models" / "demo-vlm"
A, B, _ = zoo.photos()


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return mlx_vlm.load(str(MODEL))


def png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


class Site:
    """A picture at a URL: what it is now, and how often somebody has asked for it."""

    def __init__(self) -> None:
        self.url, self.content, self.asked, self.expired = "", png(A), 0, False


@contextmanager
def served() -> Iterator[Site]:
    site = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked += 1
            self.send_response(403 if site.expired else 200)
            self.end_headers()
            self.wfile.write(site.content)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_port}/picture.png?signature=1"
        yield site
        server.shutdown()


def chat_of(loaded: Any, cache: Any, *, prompt_cache: bool = True) -> Chat:
    return Chat(*loaded, cache, prompt_cache=prompt_cache, max_tokens=3)


@pytest.mark.parametrize("prompt_cache", [False, True])
@pytest.mark.parametrize("trusted", [False, True])
def test_a_url_is_downloaded_once_a_turn_and_not_at_all_where_it_is_trusted_and_known(
    loaded: Any, *, prompt_cache: bool, trusted: bool
) -> None:
    cache = VisionFeatureCache()
    with served() as site, attach(*loaded, cache, trust_urls=trusted):
        chat = chat_of(loaded, cache, prompt_cache=prompt_cache)
        chat.ask("What is it?", [site.url])
        assert site.asked == 1
        chat.ask("Is it an animal?")
        assert site.asked == (1 if trusted else 2)
        site.expired = True
        if trusted:
            assert chat.ask("What is it?").hits == 1
        else:
            with pytest.raises(ValueError, match="Failed to load image from http.*403"):
                chat.ask("What is it?")
            assert len(chat.turns) == 2
    assert len(cache) == 1


def test_a_url_without_a_cache_is_downloaded_once_a_turn(loaded: Any) -> None:
    with served() as site:
        chat = chat_of(loaded, None)
        for turn in (1, 2):
            chat.ask("What is it?", [site.url] if turn == 1 else [])
            assert site.asked == turn


@pytest.mark.parametrize("cached", [False, True])
def test_another_picture_at_a_url_is_seen_and_what_was_kept_is_dropped(loaded: Any, *, cached: bool) -> None:
    with served() as site:
        chat = chat_of(loaded, VisionFeatureCache() if cached else None)
        with chat:
            chat.ask("What is it?", [site.url])
            assert chat.ask("Is it an animal?").reused_tokens > 0
            site.content = png(B)
            changed = chat.ask("What is it?")
            assert changed.reused_tokens == 0
            fresh = chat_of(loaded, None)
            fresh._messages, fresh._images = chat._messages[:-2], chat._images
            assert fresh.ask("What is it?").text == changed.text


def test_a_photo_turned_by_its_exif_is_another_picture_than_as_pil_opened_it(
    loaded: Any, tmp_path: Path
) -> None:
    path, turned = tmp_path / "photo.jpg", Image.Exif()
    turned[0x0112] = 6
    B.save(path, exif=turned)
    with chat_of(loaded, VisionFeatureCache()) as chat:
        chat.ask("What is it?", [str(path)])
        chat._images = [Image.open(path)]
        assert chat.ask("What is it?").reused_tokens == 0


def test_the_picture_that_was_compared_is_the_one_that_is_seen(
    loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, seen = A.copy(), []
    stream_generate = mlx_vlm.stream_generate

    def draw_first(*args: Any, image: Any = None, **options: Any) -> Any:
        picture.paste(B.resize(A.size))  # after the comparison, before anything is decoded
        seen.append(image[0].tobytes())
        return stream_generate(*args, image=image, **options)

    monkeypatch.setattr(mlx_vlm, "stream_generate", draw_first)
    with chat_of(loaded, VisionFeatureCache()) as chat:
        chat.ask("What is it?", [picture])
    assert seen == [A.tobytes()]


def test_an_array_is_compared_and_seen_as_it_was_too(loaded: Any) -> None:
    frame = np.asarray(A.resize((224, 224))).transpose(2, 0, 1).copy()
    with chat_of(loaded, VisionFeatureCache()) as chat:
        chat.ask("What is it?", [frame])
        assert chat.ask("Is it an animal?").reused_tokens > 0
        frame[:] = 0
        assert chat.ask("What is it?").reused_tokens == 0
