"""`visioncache warm`: encode images into a store, so that whoever opens it finds them."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from visioncache.cli.options import name

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache warm` takes."""
    parser.add_argument(
        "model", type=name, metavar="MODEL", help="a model that mlx_vlm.load finds; demo for the shipped"
    )
    parser.add_argument(
        "files", nargs="+", type=name, metavar="FILE", help="a file, `photos/*.jpg`, a folder or a URL"
    )
    parser.add_argument("--store", required=True, metavar="PLACE", help="a folder or URL, for the features")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no bar")


def run(options: argparse.Namespace) -> int:
    """Say what became of the images. Status 1: some could not be read or kept; 130: it was interrupted."""
    from visioncache.vlm.folders import image_files

    files = image_files(options.files)  # first: a slip there should not cost the loading of a model
    from visioncache.cache import VisionFeatureCache
    from visioncache.study.benchmark.demo import load_model
    from visioncache.vlm import attach

    with VisionFeatureCache(max_size=None, max_bytes="auto", store=options.store) as cache:
        model, processor = load_model(options.model)
        with warnings.catch_warnings(record=True) as noted:
            attached = attach(model, processor, cache)
        for note in noted:
            print(f"visioncache warm: {note.message}", file=sys.stderr)
        with attached:
            done = attached.warm(files, progress=not options.quiet)
        cache.flush()
        print(done)
        written = cache.info().store
    print(f"{options.store}: {written}")
    if done.interrupted:
        return 130
    lost = written is not None and (written.dropped or written.errors)
    return 1 if done.unreadable or done.refused or lost else 0
