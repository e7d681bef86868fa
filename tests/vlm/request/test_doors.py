"""mlx-vlm's doors, on the demo model: the same answers with a cache attached, each image encoded once."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx_vlm
import pytest
import uvicorn
import zoo
from mlx_vlm import chat as chat_command
from mlx_vlm.prompt_utils import apply_chat_template
from mlx_vlm.server.app import app, get_cached_model, unload_model_sync

from visioncache import VisionFeatureCache
from visioncache.vlm import attach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = Path(__file__).resolve().parents[3] / "data" / "models" / "demo-vlm"
QUESTION = "What is in the last image?"
GREEDY: dict[str, Any] = {"max_tokens": 6, "temperature": 0.0}
A, B, _ = zoo.photos()


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return mlx_vlm.load(str(MODEL))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path, photo in zip(paths, (A, B), strict=True):
        photo.save(path)
    return [str(path) for path in paths]


def prompt_of(loaded: tuple[Any, Any], images: int) -> Any:
    model, processor = loaded
    return apply_chat_template(processor, model.config, QUESTION, num_images=images)


def assert_same_answers(model: Any, processor: Any, ask: Callable[[], Any], images: int) -> None:
    """Ask without a cache, twice with one, and without again."""
    plain = ask()
    with attach(model, processor, VisionFeatureCache()) as attachment:
        assert ask() == plain
        before = attachment.stages.totals()
        assert before.counts["tower"] == images
        assert ask() == plain
        work = attachment.stages.totals().since(before).counts
    assert (work["decode"], work["preprocess"], work["tower"]) == (0, 0, 0)
    assert ask() == plain


def test_generate(loaded: tuple[Any, Any], files: list[str]) -> None:
    prompt = prompt_of(loaded, 2)
    assert_same_answers(*loaded, lambda: mlx_vlm.generate(*loaded, prompt, image=files, **GREEDY).text, 2)


def test_stream_generate(loaded: tuple[Any, Any], files: list[str]) -> None:
    prompt = prompt_of(loaded, 2)

    def ask() -> list[Any]:
        return [step.token for step in mlx_vlm.stream_generate(*loaded, prompt, image=files, **GREEDY)]

    assert_same_answers(*loaded, ask, 2)


@pytest.mark.parametrize("group_by_shape", [True, False])
def test_batch_generate(loaded: tuple[Any, Any], files: list[str], *, group_by_shape: bool) -> None:
    def ask() -> Any:
        batch = mlx_vlm.batch_generate(
            *loaded, images=files, prompts=[QUESTION] * 2, max_tokens=6, group_by_shape=group_by_shape
        )
        return batch.texts

    assert_same_answers(*loaded, ask, 2)


def test_the_chat_command(loaded: tuple[Any, Any], files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_command, "load", lambda _: loaded)

    def ask() -> list[str]:
        """Two questions about an image, then one about another, over its own prompt cache."""
        chat = chat_command.MLXVisionChat(str(MODEL), temperature=0.0, max_tokens=6, verbose=False)
        answers = []
        for path in (files[0], files[0], files[1]):
            assert chat.handle_command("/image", path)
            chat.add_to_history("user", QUESTION)
            answers.append(chat.generate_response())
            chat.add_to_history("assistant", answers[-1])
        return answers

    assert_same_answers(*loaded, ask, 2)


@contextmanager
def served() -> Iterator[str]:
    """mlx-vlm's server on a free port of this machine."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
        unload_model_sync()


def test_the_server(files: list[str]) -> None:
    urls = [f"data:image/jpeg;base64,{base64.b64encode(Path(f).read_bytes()).decode()}" for f in files]
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    body = {
        "model": str(MODEL),
        "messages": [{"role": "user", "content": [*content, {"type": "text", "text": QUESTION}]}],
        **GREEDY,
    }
    with served() as address:

        def ask() -> str:
            request = urllib.request.Request(  # noqa: S310
                f"{address}/v1/chat/completions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # our own
                choice = json.load(answer)["choices"][0]
            return choice["message"]["content"]

        ask()  # loads the model, in the server's own thread
        model, processor, _ = get_cached_model(str(MODEL))
        assert_same_answers(model, processor, ask, 2)


def test_a_model_of_the_same_class_that_is_not_attached_answers_as_itself(
    loaded: tuple[Any, Any], files: list[str]
) -> None:
    model, processor = loaded
    other, _ = mlx_vlm.load(str(MODEL))
    prompt = prompt_of(loaded, 1)

    def ask(model: Any) -> str:
        return str(mlx_vlm.generate(model, processor, prompt, image=files[:1], **GREEDY).text)

    plain = ask(other)
    with attach(model, processor, VisionFeatureCache()):
        for _ in range(2):
            assert ask(other) == plain
            assert ask(model) == plain
    assert ask(other) == plain
