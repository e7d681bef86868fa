"""Workloads: seeded, parameterised traces of how people and programs ask about images.

Each function says what it imitates and returns a trace of look-ups, one row an image of a request.
A request of a conversation brings every image that the conversation still shows: that is how vision
language models are asked, turn after turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from visioncache.study.trace.asked import Arrivals, Request, gaps, look_ups
from visioncache.study.trace.images import ImageModel, Published, draw

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd


def album(
    seed: int = 0,
    *,
    sessions: int = 1,
    turns: int = 24,
    most_images: int = 12,
    images: ImageModel | None = None,
    counts: Published | None = None,
    think: float = 20.0,
) -> pd.DataFrame:
    """A growing album: people add photographs to one chat and go on asking about all of them.

    Args:
        seed: chooses everything that is random.
        sessions: chats, one after the other.
        turns: questions of each.
        most_images: how many a chat may show; about every other question adds some until then.
        images: what an image costs.
        counts: the published distribution that says how many images come at once; None is one.
        think: mean seconds between questions.
    """
    rng = np.random.default_rng(seed)
    asked: list[Request] = []
    now, made = 0.0, 0
    for session in range(sessions):
        shown: list[int] = []
        for turn in range(turns):
            if not shown or (len(shown) < most_images and rng.random() < 1 / 2):
                come = 1 if counts is None else int(draw("images_per_request", 1, rng, source=counts)[0])
                come = min(come, most_images - len(shown))
                shown = [*shown, *range(made, made + come)]
                made += come
            asked.append((now, f"album {session}", turn, shown))
            now += rng.exponential(think)
    return look_ups(asked, images, rng)


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


def catalogue(
    seed: int = 0,
    *,
    requests: int = 4000,
    items: int = 800,
    skew: float = 0.9,
    users: int = 50,
    images: ImageModel | None = None,
    arrivals: Arrivals = "poisson",
    rate: float = 1.0,
    counts: Published | None = "servegen-mm-image",
) -> pd.DataFrame:
    """A shop's pictures asked about by many people: few are popular, most are not (Zipf).

    Args:
        seed: chooses everything that is random.
        requests: in all.
        items: different pictures.
        skew: the exponent of popularity: the k-th picture is asked for in proportion to 1/k^skew.
        users: people who ask; each is a session.
        images: what a picture costs.
        arrivals: how requests follow one another.
        rate: requests a second.
        counts: the published distribution of pictures a request (at most 10 here); None is one.
    """
    rng = np.random.default_rng(seed)
    popularity = 1.0 / np.arange(1, items + 1) ** skew
    popularity /= popularity.sum()
    many = np.ones(requests, np.int64)
    if counts is not None:
        many = np.minimum(draw("images_per_request", requests, rng, source=counts), min(10, items))
    when = np.cumsum(gaps(requests, 1 / rate, rng, arrivals))
    who = rng.integers(0, users, requests)
    asked: list[Request] = [
        (
            float(when[i]),
            f"user {who[i]}",
            i,
            rng.choice(items, many[i], replace=False, p=popularity).tolist(),
        )
        for i in range(requests)
    ]
    return look_ups(asked, images, rng)


def branches(
    seed: int = 0,
    *,
    turns: int = 200,
    regenerate: float = 0.25,
    back: float = 0.2,
    adds: float = 0.3,
    images: ImageModel | None = None,
    think: float = 15.0,
) -> pd.DataFrame:
    """Branching and regenerating: people ask again, or go back to an earlier turn and try another way.

    Args:
        seed: chooses everything that is random.
        turns: in all.
        regenerate: how often a turn is asked again as it was.
        back: how often an earlier turn is continued from instead of the latest.
        adds: how often a new turn brings a new image.
        images: what an image costs.
        think: mean seconds between turns.
    """
    rng = np.random.default_rng(seed)
    states: list[list[int]] = [[0]]
    asked: list[Request] = []
    now, made, current = 0.0, 1, 0
    for turn in range(turns):
        chance = rng.random()
        if chance >= regenerate:
            if chance < regenerate + back:
                current = int(rng.integers(len(states)))
            shown = states[current]
            if rng.random() < adds:
                shown, made = [*shown, made], made + 1
            states.append(shown)
            current = len(states) - 1
        asked.append((now, "branches", turn, states[current]))
        now += rng.exponential(think)
    return look_ups(asked, images, rng)


def interleaved(
    seed: int = 0,
    *,
    sessions: int = 12,
    turns: int = 16,
    most_images: int = 6,
    think: float = 30.0,
    arrivals: Arrivals = "bursty",
    images: ImageModel | None = None,
) -> pd.DataFrame:
    """Many chats at once on one machine, each with pauses to think: what a shared server sees.

    Args:
        seed: chooses everything that is random.
        sessions: chats, each a growing album.
        turns: questions of each.
        most_images: that a chat shows.
        think: mean seconds between the questions of a chat.
        arrivals: "poisson", or "bursty": several questions at once, then long pauses.
        images: what an image costs.
    """
    rng = np.random.default_rng(seed)
    asked: list[Request] = []
    made = 0
    for session in range(sessions):
        when = rng.uniform(0, think * turns) + np.cumsum(gaps(turns, think, rng, arrivals))
        shown: list[int] = []
        for turn in range(turns):
            if not shown or (len(shown) < most_images and rng.random() < 1 / 2):
                shown, made = [*shown, made], made + 1
            asked.append((float(when[turn]), f"chat {session}", turn, shown))
    return look_ups(sorted(asked, key=lambda request: request[0]), images, rng)


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
    """What LRU is worst at, on purpose: a loop one image larger than the cache (20 by default).

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


WORKLOADS: dict[str, Callable[..., pd.DataFrame]] = {
    function.__name__: function
    for function in (album, document, screenshots, catalogue, branches, interleaved, video, loop)
}
"""By name."""


def workload(name: str, seed: int = 0, **options: object) -> pd.DataFrame:
    """A workload by name; ValueError when there is none of that name."""
    if name not in WORKLOADS:
        raise ValueError(f"no workload {name!r}; there are: {', '.join(WORKLOADS)}")
    return WORKLOADS[name](seed, **options)
