"""Commands: the subcommands of `%vcache` about caches, models and entries; each calls one public function.

A command is called with the session and its parsed arguments, and returns what its line evaluates to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic_arguments import argument

from visioncache.cache import VisionFeatureCache
from visioncache.jupyter.command import COMMANDS, NAMED, command
from visioncache.jupyter.session import UsageError, meant
from visioncache.sizes import format_size

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    import pandas as pd

    from visioncache.jupyter.session import Session
    from visioncache.jupyter.widget import CacheView
    from visioncache.records import CacheInfo
    from visioncache.vlm.attach import Attached
    from visioncache.vlm.warming import Warmed


@command()
def current(session: Session, _args: Namespace) -> VisionFeatureCache | None:
    """The current cache and what is attached to it; what to type next where there is none."""
    hint = session.hint()
    if hint:
        print(hint)  # noqa: T201  # what a person reads
        return None
    cache = session.cache()
    for line in session.attached_lines(cache):
        print(line)  # noqa: T201
    return cache


del COMMANDS["current"]  # it is `%vcache` alone


@command(argument("name", metavar="NAME", help="a variable"), variables=["name"])
def use(session: Session, args: Namespace) -> VisionFeatureCache:
    """Choose the cache that `%vcache` means; one is created when there is none of that name."""
    known = sorted(dict(session.named(VisionFeatureCache)))
    cache = session.use(args.name)
    if args.name not in known:
        print(f"{args.name} is a new cache{_bounded(cache)}{meant(args.name, known)}")  # noqa: T201  # what a person reads
    return cache


@command(
    argument("model", metavar="MODEL", help="a variable: the model"),
    argument("processor", metavar="PROCESSOR", nargs="?", help="a variable: its processor"),
    variables=["model", "processor"],
)
def attach(session: Session, args: Namespace) -> Attached:
    """Let a model look its images up in the cache, instead of encoding them again.

    Without a processor, only the vision tower is skipped; decoding and preprocessing are not.
    """
    from visioncache.vlm.attach import attach as attach_to

    model = session.variable(args.model)
    processor = None if args.processor is None else session.variable(args.processor)
    cache = session.find()
    if cache is None:
        cache = session.use("cache")
    before = session.attached.get(args.model)
    if before is not None and before.is_attached:
        if before.model is model and before.processor is processor and before.cache is cache:
            return before  # the cell is run again
        before.detach()
    try:
        session.attached[args.model] = attach_to(model, processor, cache)
    except BaseException as error:
        if before is not None:
            before.attach()
        if isinstance(error, TypeError):  # a variable that is no model
            raise UsageError(str(error)) from None
        raise
    return session.attached[args.model]


@command(
    argument("model", metavar="MODEL", nargs="?", help="the variable that was attached; all without"),
    variables=["model"],
)
def detach(session: Session, args: Namespace) -> None:
    """Give a model, or every model of the cache, its own ways back."""
    session.detach(args.model)


@command(
    argument(
        "image", metavar="IMAGE", nargs="+", help="a file, `photos/*.jpg`, a folder, a URL or a variable"
    ),
    argument("--prompt", metavar="TEXT", help="a question about all of them, prefilled too"),
    argument("--model", metavar="MODEL", help="the variable that was attached, where there are several"),
    variables=["image", "model"],
)
def warm(session: Session, args: Namespace) -> Warmed:
    """Encode images that are not held yet, newest first, so that the first look at each is a hit.

    It can be interrupted, and keeps what was done. A prompt is prefilled where prefixes are kept.
    """
    attached = session.attachment("warm", args.model)
    if args.prompt is not None and attached.prefixes is None:
        raise UsageError("--prompt: no prefixes are kept; attach(model, processor, cache, prefixes='4 GiB')")
    return attached.warm(session.images(args.image), args.prompt, progress=not args.quiet)


@command()
def stats(session: Session, _args: Namespace) -> CacheInfo:
    """Counters: hits, misses, evictions, bytes, seconds saved."""
    return session.cache().info()


@command()
def entries(session: Session, _args: Namespace) -> pd.DataFrame:
    """Return what is held as a DataFrame, the most recently used first."""
    from visioncache.jupyter.frames import entries_frame

    return entries_frame(session.cache())


@command()
def show(session: Session, _args: Namespace) -> CacheView:
    """The live widget."""
    from visioncache.jupyter.widget import CacheView

    return CacheView(session.cache())


@command()
def events(session: Session, _args: Namespace) -> pd.DataFrame:
    """Return the events as a DataFrame, oldest first: time, kind, image, session and turn."""
    from visioncache.jupyter.frames import events_frame

    return events_frame(session.cache())


@command(*NAMED)
def evict(session: Session, args: Namespace) -> pd.DataFrame:
    """Remove entries, pinned or not, from memory and the store; returns what they were."""
    return _each(session, args, "pop")


@command(*NAMED)
def pin(session: Session, args: Namespace) -> pd.DataFrame:
    """Keep entries from being evicted; returns them."""
    return _each(session, args, "pin")


@command(*NAMED)
def unpin(session: Session, args: Namespace) -> pd.DataFrame:
    """Let entries be evicted again; returns them."""
    return _each(session, args, "unpin")


@command()
def clear(session: Session, _args: Namespace) -> None:
    """Drop every entry; counters stay."""
    session.cache().clear()


@command(
    argument("--max-size", metavar="N", help="entries held at most; `none` for no such bound"),
    argument(
        "--max-bytes",
        metavar="SIZE",
        nargs="+",
        help="bytes held at most, as `2 GiB`, 500MB or auto; `none` for no bound",
    ),
)
def resize(session: Session, args: Namespace) -> CacheInfo:
    """Change the bounds, evicting what no longer fits; returns the counters."""
    bounds: dict[str, Any] = {}
    if args.max_size is not None:
        bounds["max_size"] = _bound(args.max_size, int)
    if args.max_bytes is not None:
        bounds["max_bytes"] = _bound(" ".join(args.max_bytes), str)
    if not bounds:
        raise UsageError("give --max-size, --max-bytes, or both")
    cache = session.cache()
    cache.resize(**bounds)
    return cache.info()


@command()
def reset(session: Session, _args: Namespace) -> CacheInfo:
    """Start the counters from zero; entries and events stay. Returns the counters until now."""
    cache = session.cache()
    info = cache.info()
    cache.reset_info()
    return info


def _each(session: Session, args: Namespace, verb: str) -> pd.DataFrame:
    """Call a method of the cache with every entry named; what each entry is then, or was if it went."""
    from visioncache.jupyter.frames import entries_frame

    cache = session.cache()
    keys = [key for name in args.entry for key in session.keys_called(name, every=args.all)]
    found = []
    for key in dict.fromkeys(keys):
        before = cache.entry(key)
        getattr(cache, verb)(key)
        found.append(cache.entry(key) or before)
    return entries_frame(cache, [entry for entry in found if entry is not None])


def _bounded(cache: VisionFeatureCache) -> str:
    bounds = [
        *([] if cache.max_size is None else [f"{cache.max_size:,} entries"]),
        *([] if cache.max_bytes is None else [format_size(cache.max_bytes)]),
    ]
    return f" of at most {' and '.join(bounds)}" if bounds else " without bounds"


def _bound(text: str, kind: Callable[[str], Any]) -> Any:
    if text.lower() == "none":
        return None
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"--max-size {text}: give a whole number, or `none`") from None
