"""The command line: `visioncache demo | bench | simulate | convert | families | inspect | verify | warm`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from visioncache import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS = {
    "demo": "hold a conversation under every arm and show what each took",
    "bench": "time sessions under every arm",
    "simulate": "replay a trace under policies and capacities; say how large a cache should be",
    "convert": "write a trace in another format, ours or other people's",
    "families": "which mlx-vlm families are supported, and how",
    "inspect": "show a result file of `bench`",
    "verify": "show that the cache changes nothing with a model on this machine",
    "warm": "encode the images of a folder into a store, before anybody asks",
}
"""Summaries of the commands; each is a module here with `add_arguments(parser)` and `run(options) -> int`."""


_BROKEN_PIPE = 141
"""A shell's status of a program that SIGPIPE ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; bad input is one line on stderr and status 2."""
    parser = argparse.ArgumentParser(
        prog="visioncache", description="An exact vision-feature cache for vision-language models on MLX."
    )
    parser.add_argument("--version", action="version", version=f"visioncache {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = sys.argv[1:] if arguments is None else list(arguments)
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        own = commands.add_parser(name, help=summary)
        if name == asked:  # the others' modules would only cost time
            command = import_module(f"visioncache.cli.{name}")
            command.add_arguments(own)
            own.set_defaults(run=command.run)
    options = parser.parse_args(words)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        status = run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest is flushed to nowhere
        return _BROKEN_PIPE
    except (ValueError, OSError) as error:
        where = getattr(error, "filename", None)
        told = f"{where}: {error.strerror}" if isinstance(error, OSError) and where else str(error)
        print(f"visioncache {options.command}: {' '.join(told.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"visioncache {options.command}: interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
