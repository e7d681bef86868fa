"""Where prefill pauses: a boundary depends on nothing behind it."""

from __future__ import annotations

import random

import pytest

from visioncache.vlm.prefixes.boundaries import LONGEST_TEXT, SHORTEST, boundaries

END = 2


def paused(ids: list[int], images: list[tuple[int, int]], **options: object) -> list[int]:
    return boundaries(ids, images, {END}, **{"step": 2048, "pauses": "content", **options})


def test_prefill_pauses_before_and_behind_an_image_and_behind_a_turn() -> None:
    ids = [9] * 400
    ids[300] = END
    assert paused(ids, [(100, 200)]) == [100, 200, 301]


def test_it_never_pauses_behind_the_last_token() -> None:
    assert paused([9] * 200, [(100, 200)]) == [100]
    assert paused([9] * 201, [(100, 200)]) == [100, 200]


def test_pauses_are_not_closer_than_the_shortest_stretch() -> None:
    assert paused([9] * 200, [(SHORTEST - 1, 100)]) == [100]
    assert paused([9] * 200, [(3, 6), (8, 12)], shortest=2) == [6, 12]
    assert paused([9] * 200, [(8, 11), (19, 23)], shortest=2) == [8, 11, 19, 23]


def test_text_is_cut_where_it_is_long_and_images_only_by_steps() -> None:
    assert paused([9] * 1500, []) == [LONGEST_TEXT, 2 * LONGEST_TEXT]
    assert paused([9] * 6000, [(0, 5000)]) == [2048, 4096, 5000, 5000 + LONGEST_TEXT]


def test_no_stretch_is_longer_than_a_step_or_a_single_token() -> None:
    rng = random.Random(0)
    for _ in range(300):
        ids, images, step = conversation(rng), [], rng.choice([64, 256, 2048])
        found = paused(ids, images, step=step)
        stretches = [end - begin for begin, end in zip([0, *found], [*found, len(ids) - 1], strict=True)]
        assert max(stretches) <= step
        assert 1 not in stretches[:-1]


def test_mlx_vlms_own_steps_are_multiples_of_the_step() -> None:
    assert paused([9] * 100, [(10, 90)], step=32, pauses="steps") == [32, 64, 96]
    assert paused([9] * 97, [], step=32, pauses="steps") == [32, 64, 96]
    assert paused([9] * 96, [], step=32, pauses="steps") == [32, 64]


@pytest.mark.parametrize("seed", range(200))
def test_prompts_that_begin_alike_pause_alike(seed: int) -> None:
    rng = random.Random(seed)
    ids = conversation(rng)
    images = pictures(rng, len(ids))
    # Another prompt: the same up to the end of an image or in the middle of text, then something else.
    shared = rng.choice([end for _, end in images] or [len(ids) // 2])
    kept = [span for span in images if span[1] <= shared]
    other = [*ids[:shared], *conversation(rng)]
    one = [place for place in paused(ids, images) if place <= shared]
    two = [place for place in paused(other, kept) if place <= shared]
    assert one == two


def conversation(rng: random.Random) -> list[int]:
    return [rng.choice([END, 9, 9, 9, 9, 9, 9, 9]) for _ in range(rng.randrange(40, 3000))]


def pictures(rng: random.Random, length: int) -> list[tuple[int, int]]:
    cuts = sorted(rng.sample(range(length), 6))
    return list(zip(cuts[::2], cuts[1::2], strict=True))
