"""Options that several commands share."""

from __future__ import annotations

import argparse
import os


def name(text: str) -> str:
    """Return what is the name of something; an error for an empty one, as of a variable that is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name")
    return text


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare `--model` and `--max-tokens`."""
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL") or None,
        help="a model that mlx_vlm.load finds (default: $MODEL, else the demo model)",
    )
    parser.add_argument("--max-tokens", type=int, default=16, help="the longest answer (default 16)")
