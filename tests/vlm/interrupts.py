"""Interrupts that strike where a test wants them to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def struck(function: Callable[..., Any], call: Callable[[], Any]) -> Any:
    """Make a call that ^C strikes as `function` begins in it for the first time."""
    before = sys.gettrace()

    def trace(frame: Any, _event: str, _arg: Any) -> None:
        if frame.f_code is function.__code__:
            sys.settrace(before)
            raise KeyboardInterrupt

    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(before)
