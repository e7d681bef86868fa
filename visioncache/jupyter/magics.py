"""`%vcache` and `%%vcache`: the magics, their configuration, and how they come and go."""

# mypy: disable-error-code="untyped-decorator"
# (IPython's decorators have no types here.)

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError as IPythonUsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from traitlets import Bool, Int, Unicode

from visioncache.cache import VisionFeatureCache
from visioncache.jupyter import measures  # noqa: F401  # its commands register themselves
from visioncache.jupyter.advice import advised_html
from visioncache.jupyter.cellrun import CellRuns
from visioncache.jupyter.command import COMMANDS
from visioncache.jupyter.commands import current
from visioncache.jupyter.completion import matcher_for
from visioncache.jupyter.session import Session, UsageError, meant

if TYPE_CHECKING:
    from argparse import Namespace

    from IPython.core.interactiveshell import InteractiveShell

_COMMENT = re.compile(r"""(?:^|(?<=\s))\#[^'"]*$""")


@magics_class
class VisionCacheMagics(Magics):  # type: ignore[misc]  # IPython is untyped here
    """`%vcache` and `%%vcache`; `%config VisionCacheMagics` shows and sets what they default to."""

    max_size = Int(None, allow_none=True, help="Entries of a cache that %vcache creates.").tag(config=True)
    max_bytes = Unicode(
        "auto",
        allow_none=True,
        help="Bytes of a cache that %vcache creates; auto is a quarter of what the device can hold.",
    ).tag(config=True)
    quiet = Bool(default_value=False, help="Print no line after a %%vcache cell.").tag(config=True)
    peak_memory = Bool(
        default_value=True, help="Measure the peak of MLX's memory in a %%vcache cell (resets MLX's own)."
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell=shell)
        self.session = Session(shell.user_ns, shell.user_ns_hidden)
        self.runs = CellRuns(shell, self)

    @line_magic("vcache")
    def line(self, line: str) -> Any:
        """See a vision-feature cache, and work it."""
        line = uncommented(line)
        name, _, rest = line.strip().partition(" ")
        function = COMMANDS.get(name)
        if not name or name.startswith("-"):
            function, rest = current, line
        if name in {"help", "-h", "--help"}:
            sys.stdout.write(_help() + "\n")
            return None
        if function is None:
            asked = meant(name, COMMANDS) or f"; it has {', '.join(COMMANDS)}"
            raise IPythonUsageError(f"%vcache has no {name!r}{asked} (see %vcache?)")
        words = self.orderly(shlex.split, rest)
        if {"-h", "--help"} & set(words):
            sys.stdout.write(function.parser.format_help())
            return None
        args: Namespace = self.orderly(function.parser.parse_args, words)
        self._check_output(args)
        self.session.bounds = {"max_size": self.max_size, "max_bytes": self.max_bytes}
        result = self.orderly(function, self.session, args)
        if args.output is not None:
            self.shell.user_ns[args.output] = result
        return None if args.quiet else result

    @magic_arguments("%vcache")
    @argument("-q", "--quiet", action="store_true", help="print no line after the cell")
    @argument("-o", "--output", metavar="NAME", help="bind what happened to this variable")
    @argument("--no-cache", action="store_true", help="run the cell with the cache bypassed, to compare")
    @argument("--compare", action="store_true", help="run the cell bypassed, then cached, and show both")
    @argument(
        "--as", dest="name", metavar="NAME", help="keep what happened under a name; %%vcache runs lists it"
    )
    @cell_magic("vcache")
    def cell(self, line: str, cell: str) -> Any:
        """Run the cell unchanged, then say in one line what it hit, missed, saved, added and evicted.

        With --compare it is run twice, bypassed and cached, each once; before the second run the variables,
        chats, prompt caches and random seeds are put back to what they were.

        Peak memory is MLX's, from the start of the cell.
        """
        if {"-h", "--help"} & set(line.split()):
            sys.stdout.write(self.cell.parser.format_help())
            return None
        return self.runs.run_inside(line, cell)

    def parse_cell(self, line: str) -> Namespace:
        """Parse the options of a `%%vcache` line; UsageError for others."""
        args: Namespace = self.orderly(parse_argstring, self.cell, uncommented(line))
        self._check_output(args)
        if args.no_cache and args.compare:
            raise IPythonUsageError("--no-cache or --compare, not both: --compare runs the cell both ways")
        return args

    @staticmethod
    def _check_output(args: Namespace) -> None:
        if args.output is not None and not args.output.isidentifier():
            raise IPythonUsageError(f"-o {args.output}: not the name of a variable")

    @staticmethod
    def orderly(function: Any, *args: Any) -> Any:
        """Call a function; what a person got wrong becomes one line instead of a traceback."""
        try:
            return function(*args)
        except (UsageError, ValueError, OSError, RuntimeError) as error:
            if isinstance(error, IPythonUsageError):
                raise
            raise IPythonUsageError(str(error).partition("\n")[0]) from None


def uncommented(line: str) -> str:
    """Return a line without its trailing comment; a `#` in quotes is none."""
    return _COMMENT.sub("", line)


def _help() -> str:
    """Show the help of `%vcache?`."""
    lines = ["See a vision-feature cache, and work it.", "", "%vcache", "    The current cache."]
    for function in COMMANDS.values():
        usage = " ".join(function.parser.format_usage().split()).removeprefix(":: ")
        lines += [usage.replace(" [-o NAME] [-q]", ""), f"    {function.summary}"]
    lines += [
        "",
        "Each takes -o NAME (bind what it returns) and -q (show nothing).",
        "ENTRY is a label, a file name, a key, or a variable that holds the image.",
        "",
        "%%vcache [-q] [-o NAME] [--as NAME] [--no-cache | --compare]",
        "    Run a cell, then say what it did to the cache (%%vcache?).",
        "%config VisionCacheMagics              what new caches are bounded by, and more",
    ]
    return "\n".join(lines)


VisionCacheMagics.line.__doc__ = _help()


def load(shell: InteractiveShell) -> None:
    """Register the magics, their completion and their hooks."""
    if "VisionCacheMagics" in shell.magics_manager.registry:
        return
    magics = VisionCacheMagics(shell)
    kept = _kept.pop(id(shell), None)
    if kept is not None:
        magics.session.resume(kept)
    shell.register_magics(magics)
    magics.runs.install()
    magics.matcher = matcher_for(magics.session)
    shell.Completer.custom_matchers.append(magics.matcher)
    shell.display_formatter.formatters["text/html"].for_type(VisionFeatureCache, advised_html)


def unload(shell: InteractiveShell) -> None:
    """Take everything back that `load` and the magics left in the shell."""
    manager = shell.magics_manager
    magics = manager.registry.pop("VisionCacheMagics", None)
    if magics is None:
        return
    for kind in ("line", "cell"):
        manager.magics[kind].pop("vcache", None)
    magics.runs.remove()
    if _is_reloading():
        _kept[id(shell)] = magics.session
    else:
        magics.session.forget()
    shell.Completer.custom_matchers.remove(magics.matcher)
    shell.display_formatter.formatters["text/html"].pop(VisionFeatureCache, None)
    shell.configurables.remove(magics)
    shell.config.pop("VisionCacheMagics", None)


_kept: dict[int, Session] = {}
"""Sessions by their shell's identity, from an unload to the load that follows it in `%reload_ext`."""


def _is_reloading() -> bool:
    """Tell `%reload_ext` from `%unload_ext`, which IPython calls in the same way."""
    frame = sys._getframe()  # noqa: SLF001  # nothing else knows
    while frame is not None and frame.f_code.co_name != "reload_extension":
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None
