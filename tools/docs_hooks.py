"""Pages of the docs that are not written by hand: commands, families, notebooks, the repository's own files."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FROM_ROOT = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files that people look for at the top of a repository, and their pages."""

COMING = {
    "develop/speedups.md",
    "develop/versions.md",
    "explanation/compared.md",
    "explanation/libcachesim.md",
    "explanation/prefixes.md",
}
"""Pages that have their place in the navigation, and are shown there once they are written."""

NOTEBOOK = """\
# Notebook commands

`%load_ext visioncache` brings `%vcache`, which sees a cache and works it, and `%%vcache`, which runs a cell and says what the
cell did to the cache. Each command returns the object that its Python function returns; `-o NAME` binds it to a variable,
`-q` shows nothing. ENTRY is a label, a file name, a key, or a variable that holds the image.

`%config VisionCacheMagics` shows and sets what new caches are bounded by.
"""

FAMILIES = """\
# Families

`attach` takes these models of mlx-vlm, named by their package. In a terminal, `visioncache families` prints the whole table, and
`--json` prints a list of objects.

Another model that is laid out like many of these is taken too, with a warning. Its features are compared with the model's own answer before anything
is stored. [What exact means](../explanation/exact.md) says more, and [Add a family](../develop/add-a-family.md) leads by the hand.

## As most are

{usual} of {count} families are alike. One entry holds one image. A hit skips {skips}. [Prefixes](../explanation/prefixes.md) can be kept too.
The tests compare {exact} with the model without a cache, on a tiny model of the real class, and they are the same.

{names}

## The others

| family | what is different |
| --- | --- |
{others}

## Left out

These models take images too, and `attach` refuses them.

| models | why |
| --- | --- |
{left_out}
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave out of the navigation what is not written yet."""
    missing = {page for page in COMING if not (ROOT / "docs" / page).is_file()}
    for section in config.nav or []:
        for name, pages in section.items():
            if isinstance(pages, list):
                section[name] = [
                    page
                    for page in pages
                    if not missing & {target for target in page.values() if isinstance(target, str)}
                ]
    return config


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that come from elsewhere."""
    pages = {
        "reference/cli.md": command_line(),
        "reference/magics.md": notebook_commands(),
        "reference/families.md": families(),
        "reference/traces.md": (ROOT / "data/sessions/README.md").read_text(encoding="utf-8"),
        **{page: moved((ROOT / name).read_text(encoding="utf-8")) for name, page in FROM_ROOT.items()},
    }
    for name, text in pages.items():
        if (placeholder := files.get_file_from_path(name)) is not None:  # for readers of a checkout
            files.remove(placeholder)
        files.append(File.generated(config, name, content=text))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        name = str(path.relative_to(ROOT))
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Point a notebook's links, which are right in a checkout, to the site's pages."""
    return relinked(output) if page.file.src_uri.startswith("notebooks/") else output


def relinked(html: str) -> str:
    """Turn a notebook's links to other notebooks, pages and pictures into the site's."""
    html = re.sub(r'href="(\w+)\.ipynb"', r'href="\1.html"', html)
    html = re.sub(r'href="\.\./docs/([\w/-]+)\.md(#[\w-]+)?"', r'href="../\1.html\2"', html)
    return html.replace('src="../docs/', 'src="../')


def moved(text: str) -> str:
    """Turn a top file's links into the site's: pages keep theirs, other files become their names."""
    for name, page in FROM_ROOT.items():
        text = text.replace(f"]({name})", f"]({page})")
    text = text.replace("](docs/", "](")
    return re.sub(r"\[([^]]+)\]\((?!https?:|#|[\w/-]+\.md)[^)]+\)", r"\1", text)


def command_line() -> str:
    """Write down `visioncache --help` and the help of every command."""
    top = help_of()
    names = re.findall(r"^    (\w+)  ", top, re.MULTILINE)
    lines = ["# Command line", "", *block(top)]
    for name in names:
        lines += [f"## visioncache {name}", "", *block(help_of(name))]
    return "\n".join(lines)


def help_of(*command: str) -> str:
    """Return what a command of the command line prints when it is asked for help."""
    from visioncache.cli import main

    os.environ |= {"COLUMNS": "90", "NO_COLOR": "1"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return printed.getvalue()


def notebook_commands() -> str:
    """Write down what `%vcache?` and the help of each subcommand show."""
    from visioncache.jupyter import magics  # noqa: F401  # with which every command registers itself
    from visioncache.jupyter.command import COMMANDS

    lines = [NOTEBOOK]
    for name, function in COMMANDS.items():
        usage = function.parser.format_help().removeprefix("::\n\n").strip()
        lines += [f"## %vcache {name}", "", function.summary, "", *block(usage)]
    return "\n".join(lines)


def families() -> str:
    """Write down the families: those that are alike by name alone, the others with what differs."""
    from visioncache.vlm.families.listing import family_records, left_out_records

    records = family_records()
    told = {record["family"]: [*differing(record)] for record in records}
    reasons: dict[str, list[str]] = {}
    for record in left_out_records():
        reasons.setdefault(record["reason"], []).append(f"`{record['family']}`")
    usual = [record for record in records if not told[record["family"]]]
    return FAMILIES.format(
        usual=len(usual),
        count=len(records),
        skips=listed(USUAL["skips"]),
        exact=listed(USUAL["exact"]),
        names=", ".join(names_of(record) for record in usual),
        others="\n".join(
            f"| {names_of(record)} | {'; '.join(told[record['family']])} |"
            for record in records
            if told[record["family"]]
        ),
        left_out="\n".join(f"| {', '.join(names)} | {reason} |" for reason, names in reasons.items()),
    )


USUAL = {
    "entry": "image",
    "skips": ["decode", "preprocess", "tower", "projector"],
    "side_outputs": "",
    "exact": ["embeddings", "tokens"],
    "no_prefix": "",
}
"""Facts that most families share."""


def differing(record: dict[str, Any]) -> Iterator[str]:
    """Say in words what a family does not have in common with most."""
    if record["entry"] != USUAL["entry"]:
        yield f"one entry for each {record['entry']}"
    if record["skips"] != USUAL["skips"]:
        yield f"a hit skips {listed(record['skips'])}"
    if record["side_outputs"]:
        yield f"also kept: {record['side_outputs']}"
    if record["exact"] != USUAL["exact"]:
        yield f"only {listed(record['exact'])} are compared"
    if record["no_prefix"]:
        yield f"no prefixes: {record['no_prefix']}"


def names_of(record: dict[str, Any]) -> str:
    """Write a family's names as code."""
    return ", ".join(f"`{name}`" for name in (record["family"], *record["kin"]))


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does: `tower and projector`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def block(text: str) -> list[str]:
    """Fence text as it was printed."""
    return ["```text", text.rstrip(), "```", ""]
