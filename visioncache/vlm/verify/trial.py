"""Trial: run requests without a cache, on a miss, on a hit and on what is held, and compare."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from visioncache.cache import VisionFeatureCache
from visioncache.data import data_path
from visioncache.machine import describe_machine
from visioncache.vlm.request.lists import in_list
from visioncache.vlm.training import TRAINS
from visioncache.vlm.verify.compare import Difference, Verdict, difference, judge
from visioncache.vlm.verify.held import HeldCache
from visioncache.vlm.verify.report import Row, Verification
from visioncache.vlm.verify.requests import QUESTIONS, SHIPPED, TURNS, next_turn, single_requests
from visioncache.vlm.verify.watch import Run, run_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from visioncache.vlm.attach import Attached
    from visioncache.vlm.verify.requests import Request

WORK = ("decode", "preprocess", "tower")
TWICE = 2
"""Of how many requests the model's own noise is measured."""
AGAIN = 4
"""How often a model is asked again without a cache, where other answers may be its own doing."""


def verify(
    attached: Attached,
    images: Sequence[Any] | None = None,
    prompts: Sequence[str] | None = None,
    *,
    max_tokens: int = 16,
) -> Verification:
    """Compare what a model is given, and answers, without a cache, on a miss, on a hit and from what is held.

    Each request is run without a cache, with a cache of its own, with that again, and with what the
    attached cache and its store hold of it already. Its own cache is empty at first; another question, and
    a chat's next turn, find what was shown before. Some are run twice without a cache: how far the two lie
    apart is the model's own noise. Cache, model and processor are as before when it returns or raises.

    Args:
        attached: what `attach` returned.
        images: paths, URLs or PIL images, of which three are used; pictures of the project by default.
        prompts: questions: the first is asked of each set of images, all of them in a chat.
        max_tokens: the longest answer.

    Raises:
        ValueError: no processor is attached, the model trains, an image can't be opened, or no prompt or no
            token is asked for.
        RuntimeError: the model fails without any cache.
    """
    if attached.processor is None:
        raise ValueError("verify asks questions, so it needs the processor: attach(model, processor, cache)")
    if attached.model.training:
        raise ValueError(f"{TRAINS}; a cache is not used there")
    pictures = _opened([data_path("images", name) for name in SHIPPED] if images is None else images)
    given = QUESTIONS if prompts is None else [prompts] if isinstance(prompts, str) else prompts
    questions = list(given) if isinstance(given, Iterable) else []
    if not questions or not all(isinstance(question, str) for question in questions):
        raise ValueError(f"prompts={prompts!r}: give at least one question, as text")
    if not isinstance(max_tokens, int) or max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens!r}: give a whole number, at least 1")
    start = time.perf_counter()
    with attached.suspended():
        trial = _Trial(attached, max_tokens)
        for request in single_requests(pictures, questions):
            trial.run(request)
        turn, answer = None, ""
        for _ in range(TURNS):
            turn = next_turn(turn, answer, pictures, questions)
            answer = trial.run(turn).text
    if not trial.runs:
        raise RuntimeError(f"the model answers none of the requests without any cache: {trial.skipped[0][1]}")
    return trial.report(time.perf_counter() - start)


class _Trial:
    """The runs of every request so far."""

    def __init__(self, attached: Attached, max_tokens: int) -> None:
        self.attached = attached
        self.max_tokens = max_tokens
        self.runs: list[tuple[Request, dict[str, Run]]] = []
        self.skipped: list[tuple[str, str]] = []
        """Requests that the model refuses without a cache too, and what it says."""
        self.noise = Difference()
        self._own = _copy_of(attached, VisionFeatureCache(max_size=None))
        self._held_cache = HeldCache(attached.cache)
        self._held = _copy_of(attached, self._held_cache)
        self._uncached = ""

    def run(self, request: Request) -> Run:
        """Run a request in every way; what the model itself can't do is skipped."""
        plain = self._plain(request)
        if plain.error:
            self.skipped.append((request.name, plain.error))
            return plain
        if len(self.runs) < TWICE:
            again = self._plain(request)  # the first run was a warm-up too
            self._note(plain, again)
            plain = again
        runs = {"plain": plain}
        if not request.kept:
            self._own.cache.clear()
        with _while_attached(self._own):
            first = self._counted(self._own, request)
            if first.error or any(first.work.values()) or not request.kept:
                runs["miss"], first = first, self._counted(self._own, request)
            runs["hit"] = first
            self._uncached = self._uncached or self._own.opaque
        if any(map(self._held_cache.holds, self._own.cache.keys())):
            with _while_attached(self._held):
                runs["held"] = self._counted(self._held, request)
            self._held_cache.clear()
        self._look_for_noise(request, runs)
        self.runs.append((request, runs))
        return plain

    def report(self, seconds: float) -> Verification:
        """Judge every run, now that it is known how far the model lies from itself."""
        rows = []
        for request, runs in self.runs:
            ways: list[str] = [way for way in ("miss", "hit", "held") if way in runs]
            apart = {way: difference(runs["plain"], runs[way]) for way in ways}
            verdicts = {way: self._verdict(request, runs, way, apart[way]) for way in ways}
            rows.append(
                Row(
                    request=request.name,
                    images=len(request.images),
                    verdicts=verdicts,
                    apart=apart,
                    errors={way: runs[way].error for way in ways if runs[way].error},
                    work=runs["hit"].work,
                    ttft={way: run.ttft for way, run in runs.items() if way != "held" and not run.error},
                )
            )
        return Verification(
            family=self.attached.family.name,
            machine=describe_machine(),
            rows=tuple(rows),
            noise=self.noise,
            stored=self.attached.cache.is_stored or bool(len(self.attached.cache)),
            prefixes=self.attached.prefixes is not None,
            skipped=tuple(self.skipped),
            speedups=self.attached.speedups,
            damaged=len(self._held_cache.damaged),
            uncached=self._uncached,
            seconds=seconds,
        )

    def _verdict(self, request: Request, runs: dict[str, Run], way: str, apart: Difference) -> Verdict:
        if runs[way].error:
            return Verdict.REFUSED
        # Last bits may differ where a tower sums a batch of images in another order, but neither those of
        # one image, nor those of what was stored.
        alone = len(request.images) == 1
        exact = runs["plain"] if alone else runs.get("miss", runs["hit"])
        if not exact.error and difference(exact, runs[way]).given > self.noise.given:
            return Verdict.DIFFERENT
        return judge(apart, self.noise)

    def _plain(self, request: Request) -> Run:
        return run_request(self.attached.model, self.attached.processor, request, self.max_tokens)

    def _counted(self, attached: Attached, request: Request) -> Run:
        before = attached.stages.totals()
        run = run_request(attached.model, attached.processor, request, self.max_tokens)
        counts = attached.stages.totals().since(before).counts
        run.work = {stage: counts[stage] for stage in WORK}
        return run

    def _note(self, one: Run, other: Run) -> None:
        found, noise = difference(one, other), self.noise
        self.noise = Difference(
            max(noise.given, found.given), max(noise.logits, found.logits), noise.tokens or found.tokens
        )

    def _look_for_noise(self, request: Request, runs: dict[str, Run]) -> None:
        """Ask again without a cache, where other answers may be the model's own doing."""
        apart = [difference(runs["plain"], run) for way, run in runs.items() if way != "plain"]
        for _ in range(AGAIN):
            if not any(map(self._may_be_noise, apart)):
                return
            self._note(runs["plain"], self._plain(request))

    def _may_be_noise(self, found: Difference) -> bool:
        """Tell whether the model might do so from run to run, though it was not seen to do so yet."""
        if not self.noise:
            return bool(found) and not found.given
        return found.tokens and found.slight and not self.noise.tokens


def _copy_of(attached: Attached, cache: VisionFeatureCache) -> Attached:
    """Make another attachment of the same model, detached until it is used."""
    copy = type(attached)(
        attached.model, attached.processor, cache, attached.family, trust_urls=attached.trust_urls
    )
    copy.detach()
    copy.trust.leaves_nothing = True
    return copy


@contextmanager
def _while_attached(attached: Attached) -> Iterator[None]:
    attached.attach()
    try:
        yield
    finally:
        attached.detach()


def _opened(images: Sequence[Any]) -> list[Any]:
    """Check that each image is one that can be opened; paths become text, as mlx-vlm wants them."""
    found: list[Any] = []
    for image in in_list(images):
        if not isinstance(image, (str, Path, Image.Image)):
            raise ValueError(f"images: a {type(image).__name__} is no path, URL or PIL image")  # noqa: TRY004
        given = image if isinstance(image, Image.Image) else str(image)
        if isinstance(given, str) and "://" not in given:
            try:
                with Image.open(given) as picture:
                    picture.verify()
            except OSError as error:
                raise ValueError(f"{given}: {error.strerror or 'no image that Pillow can open'}") from None
        found.append(given)
    if not found:
        raise ValueError("images: give paths, URLs or PIL images, at least one")
    return found
