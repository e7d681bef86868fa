"""`visioncache verify`: show that the cache changes nothing with a model on this machine."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from visioncache.cli.options import name

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `visioncache verify` takes."""
    parser.add_argument(
        "model",
        nargs="?",
        type=name,
        metavar="MODEL",
        help="a model that mlx_vlm.load finds, or demo (default)",
    )
    parser.add_argument(
        "images",
        nargs="*",
        type=name,
        metavar="IMAGE",
        help="a file or URL; three are used (default: shipped pictures)",
    )
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="a question; may be given more than once"
    )
    parser.add_argument("--max-tokens", type=int, default=16, help="the longest answer (default 16)")
    parser.add_argument("--store", metavar="PLACE", help="a folder or URL: verify what is stored there too")
    parser.add_argument("--json", action="store_true", help="print JSON, which an issue report can attach")


def run(options: argparse.Namespace) -> int:
    """Print the table. Status 0: nothing changes; 1: something does; 2: it could not be seen."""
    from visioncache.cache import VisionFeatureCache
    from visioncache.study.benchmark.demo import load_model
    from visioncache.vlm import attach

    if options.max_tokens < 1:
        raise ValueError(f"--max-tokens {options.max_tokens}: at least 1")
    model, processor = load_model(options.model)
    cache = VisionFeatureCache(store=options.store)
    try:
        with warnings.catch_warnings(record=True) as noted:
            attached = attach(model, processor, cache)
        for note in noted:
            print(f"visioncache verify: {note.message}", file=sys.stderr)
        with attached:
            found = attached.verify(options.images or None, options.prompt, max_tokens=options.max_tokens)
    except RuntimeError as error:  # the model is one that is supported, and the cache can't be used with it
        print(f"visioncache verify: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    finally:
        cache.close()
    print(found.to_json() if options.json else found)
    return found.status
