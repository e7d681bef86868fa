"""Count what the tests of stores tried, and print a summary; servers come from above."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.register_assert_rewrite("visioncache.stores.contract")

TALLY: collections.Counter[str] = collections.Counter()


@pytest.fixture(scope="session")
def tally() -> collections.Counter[str]:
    """Counts of kills, faults and hostile inputs; the run prints them."""
    return TALLY


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TALLY:
        terminalreporter.section("stores: what was tried")
        for what, count in sorted(TALLY.items()):
            terminalreporter.line(f"{count:>9,} {what}")


@pytest.fixture(scope="session", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest, start_server: Callable[..., Any]) -> Any:
    """A server that nothing is done to."""
    return start_server(request.param)
