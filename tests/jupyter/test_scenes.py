"""A missing browser skips tests, or fails them where browsers are needed."""

from __future__ import annotations

import pytest
from scenes import require


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without Chromium."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.delenv("VISIONCACHE_REQUIRE_BROWSER", raising=False)
    return monkeypatch


@pytest.mark.usefixtures("bare")
def test_without_chromium_a_test_is_skipped_in_one_line() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"^chromium is not installed \(.*\)$"):
        require("chromium")


def test_where_a_browser_is_required_it_fails(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("VISIONCACHE_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="chromium is not installed"):
        require("chromium")


def test_what_is_there_is_used(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("CHROMIUM", "/somewhere/chromium")
    require("chromium")
