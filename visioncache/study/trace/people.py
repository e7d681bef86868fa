"""Workloads of people: albums, a shop, branches of a chat, many chats at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from visioncache.study.trace.asked import Arrivals, Request, gaps, look_ups
from visioncache.study.trace.images import ImageModel, Published, draw

if TYPE_CHECKING:
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
