"""Policies by name: the ones that come with the project, and any that `@policy` adds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from visioncache.cache import VisionFeatureCache
from visioncache.study.sim.borrowed import LIBCACHESIM, MissingExtraError, by_cachetools, by_libcachesim
from visioncache.study.sim.distances import NEVER_BEFORE, lru_distances
from visioncache.study.sim.greedy import gdsf, lrfu
from visioncache.study.sim.order import drive, is_one_by_one
from visioncache.study.sim.outcome import Asked, Option, Outcome
from visioncache.study.sim.recency import Recency
from visioncache.study.trace.lines import is_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Run = Callable[..., Outcome]


@dataclass(frozen=True)
class Policy:
    """An eviction policy: a function of the look-ups, a capacity and perhaps options, and its origin."""

    name: str
    run: Run
    usual: bool = True
    """Part of a replay for which no policies are named."""
    extra: bool = False
    """In need of what the extra `sim` brings."""
    learns: bool = False
    """Evicts as LRU does until it has learnt, which takes more than a short trace."""
    checks: Mapping[str, Option] = field(default_factory=dict)
    """Limits of its options, where they are known before it runs."""

    @property
    def in_c(self) -> str | None:
        """The class of libCacheSim that can run it over a file; None where there is none."""
        theirs = isinstance(self.run, partial) and self.run.func is by_libcachesim
        name = self.run.args[0] if theirs else None  # type: ignore[attr-defined]  # a partial's
        return None if name == "WTinyLFU" or self.learns else name

    def options(self) -> list[str]:
        """List what may follow the name, as in "lrfu:decay=0.9"."""
        if isinstance(self.run, partial) and self.run.func is by_libcachesim:
            return [*self.checks]
        found = inspect.signature(self.run).parameters.values()
        return [p.name for p in found if p.kind is p.KEYWORD_ONLY]


POLICIES: dict[str, Policy] = {}
"""By the name that `replay` knows them by. "gdsf" weighs encode seconds, "gdsf-size" bytes alone."""


def policy(name: str, *, usual: bool = False) -> Callable[[Run], Run]:
    """Register a policy: `@policy("mine")` over a function of `Asked` and a capacity, giving an `Outcome`.

    Its keyword-only arguments are options: `replay(trace, "mine:alpha=0.5")`.

    Args:
        name: what it is called, without ':' and ','.
        usual: whether it is part of a replay for which no policies are named.
    """
    if not name or set(name) & {":", ",", "="}:
        raise ValueError(f"policy name {name!r}: some text without ':', ',' and '='")

    def register(run: Run) -> Run:
        POLICIES[name] = Policy(name, run, usual)
        return run

    return register


DRIVEN = 100_000
"""Look-ups that the real cache is driven through."""


def ours(asked: Asked, capacity: int) -> Outcome:
    """Run VisionFeatureCache itself, with bytes for values.

    All look-ups of a request come first, then what they missed is stored, as an attached model does it.
    A long trace takes minutes that way. From `DRIVEN` look-ups on, hits are found as `lru` finds them:
    a test compares every hit and eviction of both on random traces. `Outcome.note` says so.
    """
    if len(asked.keys) > DRIVEN:
        return lru(asked, capacity)._replace(
            note=f"found as lru's, as those of more than {DRIVEN:,} look-ups are"
        )
    cache = VisionFeatureCache(None, capacity, log=0, clock=float, sizer=index)
    texts = [str(key) for key in range(int(asked.keys.max()) + 1)]
    hits = drive(
        asked,
        lambda key: texts[key] in cache,
        lambda key: cache.get(texts[key]) is not None,
        lambda key, size: cache.put(texts[key], size),
    )
    return Outcome(hits, cache.info().evictions)


def lru(asked: Asked, capacity: int) -> Outcome:
    """Find LRU's hits; a value larger than the capacity is never stored.

    Where each look-up is a request of its own they are found by distance, in one pass; where requests have
    several, by replaying them, for then LRU is no stack.
    """
    if not is_one_by_one(asked.requests):
        return Recency(asked).run(capacity).outcome
    stored = np.flatnonzero(asked.sizes <= capacity)
    hits = np.zeros(len(asked.keys), np.bool_)
    if not len(stored):
        return Outcome(hits, 0)
    keys, sizes = asked.keys[stored], asked.sizes[stored]
    hits[stored] = lru_distances(keys, sizes) <= min(capacity, NEVER_BEFORE - 1)
    # At the end it holds the latest used, as many as fit.
    _, latest = np.unique(keys[::-1], return_index=True)
    held = int((np.cumsum(sizes[::-1][np.sort(latest)]) <= capacity).sum())
    return Outcome(hits, len(stored) - int(hits.sum()) - held)


for _name, _run in {"visioncache": ours, "gdsf": gdsf, "lru": lru}.items():
    POLICIES[_name] = Policy(_name, _run)
for _name, _class in {"fifo": "FIFOCache", "lfu": "LFUCache", "random": "RRCache"}.items():
    POLICIES[_name] = Policy(_name, partial(by_cachetools, _class), extra=True)
for _name, _class in {
    "sieve": "Sieve",
    "s3-fifo": "S3FIFO",
    "w-tinylfu": "WTinyLFU",
    "arc": "ARC",
    "gdsf-size": "GDSF",
}.items():
    POLICIES[_name] = Policy(_name, partial(by_libcachesim, _class), extra=True, checks=LIBCACHESIM[_class])
_DECAY = Option("above 0 and at most 1", lambda value: is_number(value) and 0 < value <= 1)
POLICIES["lrfu"] = Policy("lrfu", lrfu, usual=False, checks={"decay": _DECAY})
for _name, _class in {"lhd": "LHD", "lrb": "LRB", "3l-cache": "ThreeLCache"}.items():
    POLICIES[_name] = Policy(
        _name,
        partial(by_libcachesim, _class),
        usual=False,
        extra=True,
        learns=_name != "lhd",
        checks=LIBCACHESIM[_class],
    )


TINY = Asked(np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1), np.zeros(1, np.int64))
"""A look-up, with which a policy is tried before there is much to lose."""


def available(names: Iterable[str] | None = None) -> list[str]:
    """List which of some policies (by default the usual ones) can run here, whatever extras are installed."""
    found = []
    for name in [p.name for p in POLICIES.values() if p.usual] if names is None else names:
        try:
            if POLICIES[name].extra:
                run_policy(name, TINY, 16)
        except MissingExtraError:
            continue
        found.append(name)
    return found


def named(text: str) -> tuple[Policy, dict[str, Any]]:
    """Find a policy and its options: "lrfu", "lrfu:decay=0.9", or several, as in "a:b=1:c=2".

    Raises:
        ValueError: there is no such policy or option, or an option's value is no number or word.
    """
    name, *given = (part.strip() for part in text.split(":"))
    if name not in POLICIES:
        raise ValueError(f"no policy {name!r}; there are: {', '.join(POLICIES)}")
    found = POLICIES[name]
    options: dict[str, Any] = {}
    for part in given:
        option, equals, value = part.partition("=")
        if not equals or option not in found.options():
            has = ", ".join(found.options()) or "none"
            raise ValueError(f"policy {text!r}: {part!r} is no option of {name}, which has: {has}")
        if option in options:
            raise ValueError(f"policy {text!r}: {option} is given twice")
        options[option] = _value(value)
        check = found.checks.get(option)
        if check is not None and not check.allows(options[option]):
            raise ValueError(f"policy {text!r}: {option}={value} is not {check.told}")
    return found, options


def run_policy(text: str, asked: Asked, capacity: int) -> Outcome:
    """Run a policy by name and options; ValueError when there is none of that name."""
    found, options = named(text)
    outcome = found.run(asked, capacity, **options)
    one_by_one = asked._replace(requests=np.arange(len(asked.keys)))
    if found.learns and any((outcome.hits == lru(a, capacity).hits).all() for a in (asked, one_by_one)):
        note = "hits where LRU does: on so short a trace it has learnt nothing"
        return outcome._replace(note="; ".join(filter(None, [note, outcome.note])))
    return outcome


def _value(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and "." not in text else number
