"""Completion of `%vcache` lines, through IPython's own completer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from IPython.core.completer import provisionalcompleter
from scenes import filled

from visioncache.jupyter.command import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell


def completions(shell: InteractiveShell, text: str) -> set[str]:
    """Return what Tab offers at the end of a text."""
    with provisionalcompleter():
        return {completion.text for completion in shell.Completer.completions(text, len(text))}


@pytest.fixture(params=[True, False], ids=["jedi", "no-jedi"])
def completing(request: pytest.FixtureRequest, shell: InteractiveShell) -> InteractiveShell:
    """A shell with a cache and a few variables, with jedi on or off."""
    shell.Completer.use_jedi = request.param
    shell.user_ns.update(cache=filled("photos/cat.png", "with space.png"), model=object(), _hidden=1)
    return shell


def test_subcommands_and_nothing_else(completing: InteractiveShell) -> None:
    assert completions(completing, "%vcache ") == set(COMMANDS)
    assert completions(completing, "%vcache e") == {"entries", "events", "evict"}
    assert completions(completing, "frame = %vcache ent") == {"entries"}


def test_options_and_nothing_else(completing: InteractiveShell) -> None:
    assert completions(completing, "%vcache resize --m") == {"--max-size", "--max-bytes"}
    assert completions(completing, "%vcache resize --max-size 3 --m") == {"--max-bytes"}
    assert completions(completing, "%%vcache -") == {"--quiet", "--output", "--no-cache", "--compare", "--as"}
    assert completions(completing, "%vcache stats ") == {"--output", "--quiet"}


def test_variables_where_a_variable_belongs(completing: InteractiveShell) -> None:
    assert {"cache", "model"} <= completions(completing, "%vcache attach ")
    assert completions(completing, "%vcache attach mod") == {"model"}
    assert completions(completing, "%%vcache -o ca") == {"cache"}
    offered = completions(completing, "%vcache use ")
    assert not offered & {"_hidden", "print", "In", "Out", "exit", "get_ipython"}


def test_kinds_of_plot_and_labels_of_entries(completing: InteractiveShell) -> None:
    assert completions(completing, "%vcache plot m") == {"memory"}
    assert "photos/cat.png" in completions(completing, "%vcache pin photos/")


def test_a_label_with_spaces_is_offered_in_quotes(completing: InteractiveShell) -> None:
    assert completions(completing, "%vcache pin with") == {'"with space.png"'}
    assert completions(completing, "%vcache pin 'with sp") == {"'with space.png'"}
    assert completions(completing, '%vcache pin photos/cat.png "with') == {'"with space.png"'}


def test_bare_file_names_are_offered_too(completing: InteractiveShell) -> None:
    assert completions(completing, "%vcache pin cat") == {"cat.png"}


def test_sessions_and_files_where_they_belong(
    completing: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "monday.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    assert {"album", "page"} <= completions(completing, "%vcache bench ")
    assert completions(completing, "%vcache bench albu") == {"album"}
    assert completions(completing, "%vcache trace tra") == {"traces/"}
    assert completions(completing, "%vcache trace traces/") >= {"traces/monday.jsonl"}


def test_what_nothing_matches_offers_no_builtins(completing: InteractiveShell) -> None:
    assert completions(completing, "%vcache pri") <= {"pri"}


def test_other_lines_are_left_alone(completing: InteractiveShell) -> None:
    assert "print" in completions(completing, "pri")
    assert any("vcache" in text for text in completions(completing, "%vca"))
    assert completions(completing, "%%vcache\ncach") >= {"cache"}
