"""World: three models of the same weights, the caches of one of them, and what happens to both."""

from __future__ import annotations

import gc
import random
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import zoo
from harness import arrays, prepared
from mlx.utils import tree_flatten, tree_unflatten
from mlx_vlm.generate import dispatch
from mlx_vlm.models.cache import make_prompt_cache

from soaked.talk import Talk
from visioncache import VisionFeatureCache
from visioncache.sizes import nbytes
from visioncache.vlm import attach
from visioncache.vlm.prefixes import Prefixes

if TYPE_CHECKING:
    from pathlib import Path

NEAR = 1e-3
"""Logits of a near tie, relative to the largest: pauses by content move last bits."""
STRUCK = 0.02
"""How often ^C strikes while a segment is stored."""
EXACT = 0.02
"""How far accounted bytes may be from held ones."""
NOTED = 1 << 13
"""Bytes that models note for themselves from turn to turn, as the positions of the latest prompt."""


class World:
    """Models, caches and chats of a seed: `turn` asks, `press` does something to the caches or the model."""

    def __init__(self, family: str, seed: int, folder: Path) -> None:
        self.rng = rng = random.Random(seed)
        self.tiny, self.twin, self.plain = (zoo.build(family) for _ in range(3))
        self._talk = Talk(rng, self.tiny.max_images)
        self._marker = self.tiny.prompt(1).replace("What differs?", "")
        self._photos = zoo.photos()
        self._folder = folder if rng.random() < 0.25 else None
        self._one_budget = rng.random() < 0.25
        self._settings: Any = {"pauses": rng.choices(("content", "steps"), (3, 1))[0], "shortest": 2}
        self._weights = [_weight(self.tiny.model, of_language, rng) for of_language in (True, False)]
        for name, (value, _) in self._weights:
            self._set(name, value)
        self._own: list[set[str]] = [set()]
        """Keys that somebody pinned."""
        self.turns = self.struck = self.reused = self.tokens = 0
        self.bare: list[tuple[int, int]] = []
        """Bytes and arrays that were alive whenever the caches had been emptied."""
        cold = Prefixes(VisionFeatureCache(None), self.twin.model, **self._settings)
        self._of_twin = attach(self.twin.model, self.twin.processor, VisionFeatureCache(3), prefixes=cold)
        self.attached: Any = None
        self._bypassed = False
        self.begin()

    def begin(self) -> None:
        """Make caches as a process does that begins; what a store holds is found again."""
        self.end()
        size = self.rng.choice((8_000, 40_000, 150_000))
        self.cache = VisionFeatureCache(None, size, store=self._folder, log=100)
        self.features = self.cache if self._one_budget else VisionFeatureCache(None, 30_000)
        self.cache.subscribe(self._strike)
        self._own = [set()]
        self.prefixes = Prefixes(self.cache, self.tiny.model, **self._settings)
        self.attach()

    def attach(self) -> None:
        """Attach the model."""
        self.attached = attach(self.tiny.model, self.tiny.processor, self.features, prefixes=self.prefixes)

    def end(self) -> None:
        """Detach the model and let go of the cache."""
        if self.attached is not None:
            self.attached.detach()
            self._count()
            self.cache.close(30)

    def close(self) -> None:
        """Detach everything."""
        self.end()
        self._of_twin.detach()

    def _count(self) -> None:
        totals = self.prefixes.totals()
        self.reused, self.tokens = self.reused + totals.reused, self.tokens + totals.tokens

    def _strike(self, event: Any) -> None:
        if event.kind == "put" and self.rng.random() < STRUCK:
            raise KeyboardInterrupt

    # A turn -----------------------------------------------------------------------------------------

    def turn(self) -> str:
        """Ask all three; say what is wrong with the answer or with the caches, or nothing."""
        chat = self._talk.next()
        prompt = "".join(f"{self._marker * len(photos)}{text}<eos>" for text, photos in chat) + "A:"
        images = [self._photos[number] for _, photos in chat for number in photos]
        self._of_twin.prefixes.cache.clear()
        cold = self._asked(self.twin, images, prompt)
        plain = self._asked(self.plain, images, prompt)
        self.turns += 1
        try:
            warm = self._asked(self.tiny, images, prompt)
        except KeyboardInterrupt:
            self.struck += 1
        else:
            as_cold = "" if self._bypassed else _differs(warm, cold)
            if wrong := as_cold or _says_else(warm, plain):
                return f"{wrong}, after {prompt!r} with {len(images)} images"
        return self._unsound()

    def _asked(self, tiny: zoo.Tiny, images: list[Any], prompt: str) -> list[Any]:
        """Return two tokens with their logits, and what the caches hold in the end, as numpy's arrays."""
        inputs = prepared(tiny, images, prompt)
        ids, pixels = inputs.pop("input_ids"), inputs.pop("pixel_values", None)
        mask = inputs.pop("attention_mask", None)
        caches = make_prompt_cache(tiny.model.language_model)
        step = {"prefill_step_size": 16} if self._settings["pauses"] == "steps" else {}
        options = {"max_tokens": 2, "temperature": 0.0, "prompt_cache": caches, **inputs, **step}
        steps = dispatch.generate_step(ids, tiny.model, pixels, mask, **options)
        found: list[Any] = [(int(token), np.array(logits)) for token, logits in steps]
        return [*found, [np.array(array) for array in arrays([cache.state for cache in caches])]]

    def _unsound(self) -> str:
        """Say what no cache may be after any turn."""
        entries = self.cache.entries()
        if sum(nbytes(self.cache.peek(entry.key)) for entry in entries) != self.cache.nbytes:
            return "accounted bytes are not those of the arrays"
        pinned = {entry.key.text for entry in entries if entry.pinned}
        return "" if pinned <= self._own[0] else "something stays pinned that nobody pinned"

    # What is done to caches and models --------------------------------------------------------------

    def press(self) -> str:
        """Do something at random, or nothing; say what came out wrong."""
        kinds = {"": 60, "trim": 8, "resize": 6, "pin": 6, "unpin": 4, "pop": 6, "weight": 5, "again": 4,
                 "anew": 2, "features": 2, "bypass": 2, "clear": 2}  # fmt: skip
        kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        do = self.clear if kind == "clear" else getattr(self, f"_{kind}", str)
        result: str | None = do()
        return f"{kind}: {result}" if result else ""

    def _trim(self) -> None:
        self.cache.trim(self.rng.randrange(1, 20_000))

    def _resize(self) -> None:
        self._unpin()
        self.cache.resize(max_bytes=self.rng.choice((4_000, 8_000, 40_000, 150_000, None)))

    def _pin(self) -> None:
        if keys := self.cache.keys():
            self._own[0].add((key := self.rng.choice(keys)).text)
            self.cache.pin(key)

    def _unpin(self) -> None:
        for key in self.cache.keys():
            self.cache.unpin(key)
        self._own[0].clear()

    def _pop(self) -> None:
        if keys := self.cache.keys():
            self.cache.pop(self.rng.choice(keys))

    def _weight(self) -> None:
        name, values = self.rng.choice(self._weights)
        self._set(name, self.rng.choice(values))

    def _set(self, name: str, value: mx.array) -> None:
        for tiny in (self.tiny, self.twin, self.plain):
            tiny.model.update(tree_unflatten([(name, value)]))

    def _again(self) -> None:
        self.attached.detach()
        self.attach()

    def _anew(self) -> None:
        self.begin()

    def _features(self) -> None:
        self.features.clear()

    def _bypass(self) -> str:
        self._bypassed = True
        try:
            with self.attached.bypass():
                return self.turn()
        finally:
            self._bypassed = False

    def clear(self) -> str:
        """Empty the caches; what is freed is what was accounted."""
        self.cache.flush(30)
        before, accounted = active(), self.cache.nbytes
        self.cache.clear()
        self._own[0].clear()
        after = active()
        self.features.clear()
        self._of_twin.prefixes.cache.clear()
        self.bare.append((active(), alive()))
        if abs(before - after - accounted) > EXACT * accounted:
            return f"{before - after} bytes were freed, {accounted} accounted"
        return ""

    def held(self) -> str:
        """Compare the bytes that are alive with what the caches account; say what differs."""
        if not self.bare:
            return self.clear()
        caches = {self.cache, self.features, self._of_twin.prefixes.cache, self._of_twin.cache}
        accounted = sum(cache.nbytes for cache in caches)
        held = active() - self.bare[-1][0]
        near = abs(held - accounted) <= EXACT * accounted + NOTED
        return "" if near else f"{held} bytes are alive, {accounted} accounted"


def _weight(model: Any, of_language: bool, rng: random.Random) -> tuple[str, list[mx.array]]:
    """Pick a weight of the language side or of the other; it is either as it was, or larger."""
    named = [
        (name, value)
        for name, value in tree_flatten(model.parameters())
        if name.startswith("language_model") == of_language and value.ndim > 1
    ]
    name, value = rng.choice(named)
    larger = value * 1.25
    mx.eval(larger)
    return name, [value, larger]


def _differs(warm: list[Any], cold: list[Any]) -> str:
    """Say what differs from the cold turn, to the last bit."""
    if [token for token, _ in warm[:-1]] != [token for token, _ in cold[:-1]]:
        return "other tokens than the cold turn's"
    numbers = zip(_numbers(warm), _numbers(cold), strict=True)
    return "" if all(np.array_equal(*pair) for pair in numbers) else "other bits than the cold turn's"


def _numbers(answer: list[Any]) -> list[Any]:
    return [*(logits for _, logits in answer[:-1]), *answer[-1]]


def _says_else(warm: list[Any], plain: list[Any]) -> str:
    """Say which token is not the one of the model alone, but for near ties."""
    for (token, _), (expected, logits) in zip(warm[:-1], plain[:-1], strict=True):
        if logits[expected] - logits[token] > NEAR * abs(logits).max():
            return f"token {token} where the model alone says {expected}"
        if token != expected:
            return ""
    return ""


def active() -> int:
    """Count the bytes of arrays that are alive."""
    gc.collect()
    mx.clear_cache()
    return int(mx.get_active_memory())


def alive() -> int:
    """Count the arrays that are alive."""
    return sum(type(one) is mx.array for one in gc.get_objects())
