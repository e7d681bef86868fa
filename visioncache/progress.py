"""Progress: a bar while something long runs, a notebook's own in a notebook, which leaves one line there."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from visioncache.display import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")


@contextmanager
def progress(total: int, unit: str, *, show: bool = True) -> Iterator[Any]:
    """Show a tqdm bar inside of the block: on stderr, or in a notebook as a widget.

    A widget that has ended is of no use to a page that is exported: a line takes its place.

    Args:
        total: how many there are.
        unit: the name of one, as "turn".
        show: False for none.
    """
    from tqdm.auto import tqdm
    from tqdm.notebook import tqdm_notebook

    if not show or not issubclass(tqdm, tqdm_notebook):
        with tqdm(total=total, unit=unit, file=sys.stderr, disable=not show) as line:
            yield line
        return
    from IPython.display import display

    bar: Any = tqdm(total=total, unit=unit, display=False)
    shown = display(bar.container, display_id=True)
    try:
        yield bar
    finally:
        bar.leave = False
        bar.close()
        bar.container.close()  # tqdm leaves one that has not come to its end
        took = format_seconds(bar.format_dict["elapsed"])
        done = f"{bar.n:,} of {total:,} {unit}s in {took}"
        shown.update({"text/plain": done}, raw=True)


def tracked(items: Sequence[T], unit: str, *, show: bool = True) -> Iterator[T]:
    """Hand out items one by one under a bar; `unit` and `show` are those of `progress`."""
    with progress(len(items), unit, show=show) as bar:
        for item in items:
            yield item
            bar.update()
