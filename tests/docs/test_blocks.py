"""Every block of code of the README and the docs runs, page by page, in the order that a reader meets them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pytest
from doc_pages import PAGES, ROOT, blocks, commands, replaced, run_command, run_python
from IPython.core.interactiveshell import InteractiveShell
from mlx.utils import tree_flatten
from traitlets.config import Config

from visioncache.study import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RUN = {"python", "bash", "json"}
SHOWN = {"text", "yaml", "toml", "markdown"}
"""Languages of blocks that show something: output, a file's content."""
CHECKPOINT = r"mlx-community/[\w.-]+"
SERVER = r"redis://lab-server:6379"


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model as a checkpoint of float32, which a CPU multiplies quickly; stands for any checkpoint."""
    folder = tmp_path_factory.mktemp("model") / "demo-vlm"
    shutil.copytree(ROOT / "data" / "models" / "demo-vlm", folder)
    model, _ = load_model()
    weights = {name: value.astype(mx.float32) for name, value in tree_flatten(model.parameters())}
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the pages suppose it: photographs beside, and a checkout's data."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in (ROOT / "data" / "images").iterdir():
        if path.suffix in {".png", ".jpg"}:
            (photos / path.name).symlink_to(path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InteractiveShell]:
    """A fresh IPython with nothing of the user's."""
    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.clear_instance()
    ipython = InteractiveShell.instance(config=config, ipython_dir=str(tmp_path / "ipython"))
    ipython.colors = "nocolor"
    yield ipython
    if "VisionCacheMagics" in ipython.magics_manager.registry:
        ipython.run_line_magic("unload_ext", "visioncache")
    InteractiveShell.clear_instance()


def titled(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=titled)
def test_what_a_page_tells_to_type_works(
    page: Path,
    shell: InteractiveShell,
    desk: Path,
    demo_folder: Path,
    start_server: Callable[..., Any],
) -> None:
    places = {CHECKPOINT: str(demo_folder)}
    if "redis://" in page.read_text(encoding="utf-8"):
        places[SERVER] = start_server("redis").url.removesuffix("/0")
    for block in blocks(page):
        text = replaced(block.text, places)
        try:
            if block.language == "python":
                run_python(shell, text)
            elif block.language == "bash":
                for command in commands(text):
                    run_command(command, desk)
            elif block.language == "json":
                json.loads(text)
        except BaseException as error:
            error.add_note(f"in the block at {titled(page)}:{block.line}")
            raise
    attached = shell.user_ns.get("attached")
    if attached is not None and attached.is_attached:
        attached.detach()


@pytest.mark.parametrize("page", PAGES, ids=titled)
def test_every_block_says_its_language(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= RUN | SHOWN
