"""`%vcache warm` and what a cell of mlx-vlm's own functions opens to, with the demo model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from IPython.utils.capture import capture_output
from PIL import Image
from test_completion import completions
from test_magics import refused, run

from visioncache.jupyter.celldelta import STAGES
from visioncache.vlm import Chat

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell

COLOURS = ("teal", "red", "gold")


@pytest.fixture
def photos(
    shell: InteractiveShell, demo_pair: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> InteractiveShell:
    """A shell with the demo model attached, and a folder of three photographs and a note."""
    shell.user_ns["model"], shell.user_ns["processor"] = demo_pair
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my photos"
    folder.mkdir()
    for colour in COLOURS:
        Image.new("RGB", (56, 84), colour).save(folder / f"{colour}.png")
    (folder / "notes.txt").write_text("not an image")
    run(shell, "%vcache attach -q model processor")
    return shell


def test_a_pattern_is_warmed_and_the_first_look_is_a_hit(photos: InteractiveShell) -> None:
    shell = photos
    with capture_output() as seen:
        done = run(shell, "%vcache warm 'my photos/*.png'")
    assert sorted(done.encoded) == [f"my photos/{colour}.png" for colour in sorted(COLOURS)]
    assert "3/3" in seen.stderr  # the bar
    assert "3 encoded, 0 held already" in seen.stdout
    turn = Chat(shell.user_ns["model"], shell.user_ns["processor"], shell.user_ns["cache"], max_tokens=1).ask(
        "What is it?", ["my photos/red.png"]
    )
    assert (turn.encodes, turn.misses) == (0, 0)


def test_a_folder_a_file_and_variables_are_warmed(photos: InteractiveShell) -> None:
    shell = photos
    shell.user_ns["one"] = Image.new("RGB", (56, 56), "navy")
    shell.user_ns["two"] = [Image.new("RGB", (28, 56), "olive"), "my photos/red.png"]
    with capture_output() as seen:
        run(shell, "%vcache warm -q -o done 'my photos' 'my photos/red.png' one two")
    assert (len(shell.user_ns["done"].encoded), len(shell.user_ns["done"].held)) == (5, 2)
    assert (seen.stdout, seen.stderr) == ("", "")


def test_a_file_that_is_no_image_costs_one_line(photos: InteractiveShell) -> None:
    done = run(photos, "%vcache warm 'my photos/*'")
    assert len(done.encoded) == 3
    assert str(done).splitlines()[0] == "3 encoded, 0 held already, 1 unreadable"
    assert str(done).splitlines()[1].startswith("my photos/notes.txt: ")


def test_what_can_not_be_warmed_is_one_line(photos: InteractiveShell) -> None:
    shell = photos
    assert "there/*.png: no file is called like that" in refused(shell, "%vcache warm there/*.png")
    assert "there is no file 'lost.png'" in refused(shell, "%vcache warm lost.png")
    assert "no prefixes are kept" in refused(shell, "%vcache warm --prompt 'What?' 'my photos'")
    run(shell, "%vcache detach")
    assert "warm what? attach a model first" in refused(shell, "%vcache warm 'my photos'")


def test_an_interrupt_keeps_what_was_warmed(photos: InteractiveShell) -> None:
    shell = photos
    cache = shell.user_ns["cache"]

    def strike(event: Any) -> None:
        if event.kind == "miss" and len(cache) == 2:
            raise KeyboardInterrupt

    stop = cache.subscribe(strike)
    done = run(shell, "%vcache warm 'my photos'")
    stop()
    assert (done.interrupted, len(done.encoded), len(cache)) == (True, 2, 2)


def test_paths_are_completed(photos: InteractiveShell) -> None:
    assert '"my photos/' in completions(photos, "%vcache warm my")
    assert completions(photos, "%vcache warm 'my photos/re") == {"'my photos/red.png'"}
    assert "model" in completions(photos, "%vcache warm --model ")


def test_with_several_models_it_asks_which(photos: InteractiveShell) -> None:
    from visioncache.study.benchmark.demo import load_model

    shell = photos
    shell.user_ns["m2"], shell.user_ns["p2"] = load_model()
    run(shell, "%vcache attach -q m2 p2")
    assert "warm by which model? `--model NAME`; attached: model, m2" in refused(
        shell, "%vcache warm 'my photos'"
    )
    assert len(run(shell, "%vcache warm --model m2 'my photos'").encoded) == 3


ASK = """
import mlx_vlm
from mlx_vlm.prompt_utils import apply_chat_template
def ask(question, *images):
    prompt = apply_chat_template(processor, model.config, question, num_images=len(images))
    mlx_vlm.generate(model, processor, prompt, image=list(images) or None, max_tokens=2, temperature=0.0)
"""
CELL = """%%vcache -q -o spent
ask("What is it?", "my photos/red.png")
ask("Which?", "my photos/red.png", "my photos/teal.png")
ask("And?", "my photos/red.png")
"""


def test_a_cell_of_mlx_vlms_own_functions_opens_to_a_timeline_too(photos: InteractiveShell) -> None:
    shell = photos
    run(shell, ASK)
    run(shell, CELL)
    spent = shell.user_ns["spent"]
    assert spent.turns == []
    assert [row[0] for row in spent.timeline()] == ["1", "2", "3"]
    assert [request["tower"] > 0 for request in spent.requests] == [True, True, False]
    assert all(request["prefill"] > 0 for request in spent.requests)
    for stage in STAGES:
        assert sum(request[stage] for request in spent.requests) == pytest.approx(spent.stages[stage])
    assert sum(spent.stages.values()) < spent.elapsed
    assert [row[1:3] for row in spent.images()] == [
        ("missed", "my photos/red.png"),
        ("hit", "my photos/red.png"),
        ("missed", "my photos/teal.png"),
        ("hit", "my photos/red.png"),
    ]
    html = spent._repr_html_()
    assert html.startswith("<details><summary>")
    assert "Where the time to the first token went" in html
    assert "Image by image" in html


def test_a_cell_that_asks_nothing_has_no_turns(photos: InteractiveShell) -> None:
    shell = photos
    run(shell, ASK + "ask('What is it?', 'my photos/red.png')")
    run(shell, "%%vcache -q -o spent\ncache.get('nothing')")
    assert shell.user_ns["spent"].timeline() == []
