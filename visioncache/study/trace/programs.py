"""Workloads of programs: documents, an agent's screens, a video, a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from visioncache.study.trace.asked import Request, look_ups
from visioncache.study.trace.images import ImageModel

if TYPE_CHECKING:
    import pandas as pd


def document(
    seed: int = 0,
    *,
    pages: int = 40,
    questions: int = 10,
    order: Literal["page", "question"] = "page",
    images: ImageModel | None = None,
    seconds_apart: float = 2.0,
) -> pd.DataFrame:
    """A document of N pages asked K questions each, as extraction from a PDF does.

    Args:
        seed: chooses the pages' sizes.
        pages: of the document; one request shows one page.
        questions: about each page.
        order: "page" asks all questions of a page before the next page; "question" sweeps the whole
            document once a question, as a loop over prompts does.
        images: what a page costs; pages are of one size unless it says otherwise.
        seconds_apart: between requests.
    """
    rng = np.random.default_rng(seed)
    outer, inner = (pages, questions) if order == "page" else (questions, pages)
    asked: list[Request] = []
    for i in range(outer):
        for j in range(inner):
            page, question = (i, j) if order == "page" else (j, i)
            asked.append((len(asked) * seconds_apart, f"page {page}", question, [page]))
    return look_ups(asked, images or ImageModel(tokens=1564), rng)


def screenshots(
    seed: int = 0,
    *,
    steps: int = 150,
    window: int = 5,
    sessions: int = 2,
    again: float = 0.15,
    images: ImageModel | None = None,
    seconds_apart: float = 4.0,
) -> pd.DataFrame:
    """An agent that uses a computer: each step adds a screenshot, its context keeps the last few.

    Args:
        seed: chooses everything that is random.
        steps: of each agent.
        window: screenshots that the context keeps.
        sessions: agents that work side by side, step by step.
        again: how often the screen has not changed, so that the same picture comes again.
        images: what a screenshot costs; they are of one size unless it says otherwise.
        seconds_apart: between the steps of an agent.
    """
    rng = np.random.default_rng(seed)
    asked: list[Request] = []
    shown: list[list[int]] = [[] for _ in range(sessions)]
    made = 0
    for step in range(steps):
        for session in range(sessions):
            kept = shown[session]
            if kept and rng.random() < again:
                image = kept[-1]
            else:
                image, made = made, made + 1
            shown[session] = [*kept, image][-window:]
            now = step * seconds_apart + session * seconds_apart / sessions
            asked.append((now, f"agent {session}", step, shown[session]))
    return look_ups(asked, images or ImageModel(tokens=1564), rng)


def video(
    seed: int = 0,
    *,
    frames: int = 240,
    window: int = 16,
    stride: int = 4,
    images: ImageModel | None = None,
    seconds_apart: float = 2.0,
) -> pd.DataFrame:
    """A video watched through a sliding window: each request shows some frames, most seen before.

    Args:
        seed: chooses the frames' sizes, where they differ.
        frames: of the video.
        window: frames a request.
        stride: by how many frames the window moves.
        images: what a frame costs; by default all are of 256 tokens.
        seconds_apart: between requests.
    """
    rng = np.random.default_rng(seed)
    starts = range(0, max(frames - window, 0) + 1, stride)
    asked: list[Request] = [
        (turn * seconds_apart, "video", turn, range(start, min(start + window, frames)))
        for turn, start in enumerate(starts)
    ]
    return look_ups(asked, images or ImageModel(tokens=256), rng)


def loop(
    seed: int = 0, *, size: int = 21, rounds: int = 20, images: ImageModel | None = None
) -> pd.DataFrame:
    """Loop over images, the worst case of LRU: a loop one image larger than the cache (20 by default).

    Sweeping prompts over a folder of images does this: at a capacity of `size - 1` LRU never hits.

    Args:
        seed: chooses the images' sizes, where they differ.
        size: images of the loop.
        rounds: how often it goes round.
        images: what an image costs; they are of one size unless it says otherwise.
    """
    rng = np.random.default_rng(seed)
    asked: list[Request] = [(float(i), "loop", i, [i % size]) for i in range(size * rounds)]
    return look_ups(asked, images or ImageModel(tokens=1564), rng)
