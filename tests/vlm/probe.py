"""Probe a family: what its language model is given and answers without a cache, on a miss and on a hit."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo
from harness import arrays, embedded, greedy, prepared, same
from mlx_vlm.tokenizer_utils import NaiveStreamingDetokenizer
from mlx_vlm.utils import StoppingCriteria

import visioncache
from visioncache import VisionFeatureCache
from visioncache.vlm import attach
from visioncache.vlm.families import proven
from visioncache.vlm.patching.instances import class_of
from visioncache.vlm.patching.missing import MissingNameError
from visioncache.vlm.scope.code import version
from visioncache.vlm.verify.requests import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

CLEAR = (ValueError, RuntimeError)
"""Errors that an attachment may raise, in one line."""
OURS = Path(visioncache.__file__).parent
GAIN = "DRIFT_GAIN"
TOKENS = 3
"""Of how many requests tokens are compared too."""
WORK = ("decode", "preprocess", "tower")


@dataclass
class Probed:
    """How a family ended: exact, refused in one clear line, or wrong."""

    family: str
    wrong: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    plain: str = ""
    """Error that mlx-vlm itself raised, without any cache."""
    slow: bool = False
    """Set where a hit did the work of a miss."""
    status: int | None = None
    """The exit status of `visioncache verify`, where it was asked for."""

    @property
    def ending(self) -> str:
        """One word for all of it."""
        if self.plain:
            return "not run"
        return "WRONG" if self.wrong else "refused" if self.refused else "slow" if self.slow else "exact"

    @property
    def line(self) -> str:
        """The ending, and what is to be said of it."""
        return f"{self.ending}{': ' * bool(self._said)}{self._said}"

    @property
    def _said(self) -> str:
        return self.plain or "; ".join(dict.fromkeys(self.wrong or self.refused))


def verify(family: str, *, believed: bool = False) -> int:
    """Give the exit status of `visioncache verify` for a family's tiny model, which has no chat template.

    Where it is `believed`, the table says that the family was proven with the source that is installed.
    """
    if believed:
        proven.proven().setdefault(family, {})[proven.source_digest(family)] = [version("mlx-vlm")]
    tiny = zoo.build(family)
    tokenizer = tiny.processor.tokenizer
    tiny.processor.detokenizer = NaiveStreamingDetokenizer(tokenizer)
    tokenizer.stopping_criteria = StoppingCriteria([tokenizer.eos_token_id], tokenizer)
    prompt = Request.prompt

    def asked(request: Request, *_: Any) -> str:
        images = list(request.images)
        plain = tiny.prompt(len(images))
        why = " And why is it so" * len(request.messages)  # of what was shown before
        others = [f"{plain}{why}!", f"{plain}{why}?"] if request.kept else []
        taken = (one for one in others if _is_taken(tiny, _Ask("", images, prompt=one)))
        return next(taken, plain)

    Request.prompt = asked  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
                return attached.verify(zoo.photos()[: tiny.max_images], max_tokens=2).status
    except MissingNameError:
        return 1  # as the command
    finally:
        Request.prompt = prompt  # type: ignore[method-assign]


def probe(family: str, *, keyword: bool = False) -> Probed:
    """Ask about one image, another size, two and three, with the processor attached and without; tokens too.

    Then about one with another setting of the model's code, where a change gave it one; with `keyword`, it is
    passed to the model too.
    """
    found = Probed(family)
    try:
        tiny = zoo.build(family)
        requests = _requests(tiny, keyword=keyword)
        plain = [_asked(tiny, request) for request in requests]
        tokens = [] if tiny.metal else [greedy(tiny, request.images) for request in requests[:TOKENS]]
    except Exception as error:  # noqa: BLE001  # mlx-vlm's own affair
        found.plain = _line(error)
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for processor in (tiny.processor, None)[tiny.processor is None :]:
            for what in _apart(tiny, processor, requests, plain, tokens, found):
                (found.wrong if not isinstance(what, Exception) else _told(found, what)).append(_line(what))
        after = [_asked(tiny, request) for request in requests]
        if not all(map(same, plain, after)):
            found.wrong.append("the model is another one after detach()")
    return found


_FOLDER = tempfile.TemporaryDirectory(prefix="probed-")
"""It goes as the process ends."""


@dataclass(frozen=True)
class _Ask:
    """Something to ask about: images, and what a setting of the code may be."""

    name: str
    images: list[Any]
    gain: float = 1.0
    keyword: bool = False
    prompt: str | None = None


def _requests(tiny: zoo.Tiny, *, keyword: bool) -> list[_Ask]:
    first, second, third = zoo.photos()
    large = third.resize((260, 196))
    third.save(path := str(Path(_FOLDER.name, "photo.png")))
    opened = [_Ask("one by its path", [path])] if tiny.processor is not None else []  # else nothing opens it
    elsewhere = [
        *opened,
        _Ask("one in a longer prompt", [first], prompt=f"{tiny.prompt(1)} And why is it so?"),
        _Ask("one in a prompt that ends otherwise", [first], prompt=f"{tiny.prompt(1)[:-1]}!"),
        _Ask("one in a very long prompt", [first], prompt=f"{tiny.prompt(1)}{' And why is it so?' * 20}"),
    ]
    several = [
        _Ask("two", [first, second]),
        _Ask("two reversed", [second, first]),
        _Ask("three", [first, second, third]),
        _Ask("a large one and another", [large, first]),
    ]
    return [
        _Ask("one", [first]),
        *(ask for ask in several if len(ask.images) <= tiny.max_images),
        _Ask("a large one", [large]),
        _Ask("a dark one", [first.point(lambda value: value // 8)]),
        *(ask for ask in elsewhere if _is_taken(tiny, ask)),
        _Ask("one with another setting", [first], gain=0.5, keyword=keyword),
    ]


def _is_taken(tiny: zoo.Tiny, ask: _Ask) -> bool:
    """Tell whether a family takes a prompt: some take one of their own words alone."""
    try:
        _asked(tiny, ask)
    except ValueError:
        return False
    return True


def _asked(tiny: zoo.Tiny, ask: _Ask) -> dict[str, Any]:
    """Return the inputs of the language model; simulated code reads its gain from the environment, or its module."""
    of_module = getattr(sys.modules[class_of(tiny.model).__module__], GAIN, [1.0])
    os.environ[GAIN], of_module[0] = str(ask.gain), ask.gain
    try:
        passed = {GAIN.lower(): ask.gain} if ask.keyword else {}
        return embedded(tiny, {**prepared(tiny, ask.images, ask.prompt), **passed})
    finally:
        del os.environ[GAIN]
        of_module[0] = 1.0


def _apart(
    tiny: Any, processor: Any, requests: list[_Ask], plain: list[Any], tokens: list[Any], found: Probed
) -> Iterator[Any]:
    """Differences from `plain`, as text, and what an attachment raised."""
    try:
        attached = attach(tiny.model, processor, VisionFeatureCache(200))
    except Exception as error:  # noqa: BLE001  # judged by whoever asks
        yield error
        return
    with attached:
        for way in ("miss", "hit"):
            for request, expected in zip(requests, plain, strict=True):
                before = attached.stages.totals()
                try:
                    given = _asked(tiny, request)
                except Exception as error:  # noqa: BLE001
                    yield error
                    continue
                alone = len(request.images) == 1  # and not summed as a batch in another order
                if not (same if alone else _close)(expected, given):
                    yield f"{way} of {request.name}: another thing is given"
                work = attached.stages.totals().since(before).counts
                done = WORK if processor is not None else WORK[-1:]
                found.slow |= way == "hit" and any(work[stage] for stage in done)
        if processor is not None:
            for request, expected in zip(requests, tokens, strict=False):
                try:
                    if greedy(tiny, request.images) != expected:
                        yield f"other tokens of {request.name}"
                except Exception as error:  # noqa: BLE001
                    yield error


def _close(one: Any, other: Any) -> bool:
    """Tell whether two embeddings are the same, but for the last bits of float32."""
    if one.keys() != other.keys():
        return False
    for name, value in one.items():
        mine = other[name]
        if same(value, mine):
            continue
        rows = [*arrays(value)], [*arrays(mine)]
        if not rows[0] or len(rows[0]) != len(rows[1]) or not all(map(_near, *rows)):
            return False
    return True


def _near(one: Any, other: Any) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool((abs(one - other).max() <= 1e-5 * abs(one).max()).item())


def _told(found: Probed, error: Exception) -> list[str]:
    """Where an error belongs: a clear line is a refusal, any other one is wrong."""
    clear = isinstance(error, CLEAR) and "\n" not in str(error) and _is_ours(error)
    return found.refused if clear else found.wrong


def _is_ours(error: BaseException | None) -> bool:
    """Tell whether the cache raised it, though something may have raised it again."""
    if error is None:
        return False
    (*_, last) = traceback.extract_tb(error.__traceback__)
    return Path(last.filename).is_relative_to(OURS) or _is_ours(error.__context__)


def _line(what: Any) -> str:
    text = what if isinstance(what, str) else f"{type(what).__name__}: {what}"
    return " ".join(text.split())
