"""Folders: the image files that names, patterns and folders stand for."""

from __future__ import annotations

import os
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable


def image_files(names: Iterable[str]) -> list[str]:
    """List the files that names stand for, each once: `a.jpg`, `photos/*.jpg`, `photos/**/*.png`, `photos/`.

    A folder stands for the images that lie in it, by their extensions. URLs are left as they are.

    Raises:
        ValueError: a pattern or a folder stands for nothing, or a file is not there.
    """
    found: list[str] = []
    for name in names:
        path = Path(name).expanduser()
        if "://" in name:
            found.append(name)
        elif path.is_dir():
            found += _images_in(path)
        elif path.exists():  # before patterns: a file may be called `a[1].jpg`
            found.append(str(path))
        elif has_magic(name):
            matches = sorted(filter(os.path.isfile, glob(str(path), recursive=True)))  # noqa: PTH207
            if not matches:
                raise ValueError(f"{name}: no file is called like that")
            found += matches
        else:
            raise ValueError(f"there is no file {name!r}")
    return list(dict.fromkeys(found))


def _images_in(folder: Path) -> list[str]:
    known = Image.registered_extensions()
    images = [
        str(path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in known and not path.name.startswith(".") and path.is_file()
    ]
    if not images:
        raise ValueError(f"{folder}: no image lies in this folder; `{folder}/**/*.jpg` looks below it")
    return images
