"""Watch: one run of a request, with all that the language model was given and what it made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx_vlm
from mlx.utils import tree_flatten

from visioncache.vlm.patching.instances import around, patched

if TYPE_CHECKING:
    from collections.abc import Callable

    from visioncache.vlm.verify.requests import Request


@dataclass
class Run:
    """Hold what one run gave."""

    given: list[mx.array] = field(default_factory=list)
    """Every array that the language model was called with for the prompt, in order."""
    logits: mx.array | None = None
    """`[vocabulary]`, of the first token."""
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    ttft: float = 0.0
    """Seconds until the first token."""
    error: str = ""
    """One line, where it raised."""
    work: dict[str, int] = field(default_factory=dict)
    """How often images were decoded, preprocessed and encoded, where a cache counted it."""


def run_request(
    model: Any, processor: Any, request: Request, max_tokens: int, images: list[Any] | None = None
) -> Run:
    """Generate greedily and keep what the language model was given; an exception becomes `Run.error`."""
    run = Run()
    language = model.language_model
    images = list(request.images) if images is None else images

    def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        if kwargs.get("inputs_embeds") is not None:  # not the tokens after the first
            # mlx-vlm passes masks of pixels on, which no language model reads.
            told = {name: value for name, value in kwargs.items() if name != "cache" and "pixel" not in name}
            run.given += [item for _, item in tree_flatten([args, told]) if isinstance(item, mx.array)]
            run.logits = output.logits[:, -1].reshape(-1)
        return output

    try:
        with patched(language, __call__=around(language, "__call__", call)):
            prompt = request.prompt(model, processor)
            start = time.perf_counter()
            for piece in mlx_vlm.stream_generate(
                model, processor, prompt, image=images, temperature=0.0, max_tokens=max_tokens
            ):
                run.ttft = run.ttft or time.perf_counter() - start
                if piece.token is not None and piece.finish_reason is None:
                    run.tokens.append(int(piece.token))
                run.text += piece.text
            mx.eval(run.given, run.logits)
    except Exception as error:  # noqa: BLE001  # whatever goes wrong with a cache is part of the answer
        run.error = _without_names(f"{type(error).__name__}: {error}", images)
    return run


def _without_names(message: str, images: list[Any]) -> str:
    """Put a message on one line, without the names of files."""
    for name in (image for image in images if isinstance(image, str)):
        message = message.replace(name, "an image").replace(Path(name).name, "an image")
    return " ".join(message.split())
