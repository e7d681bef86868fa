"""Cell runs: `%%vcache` lets IPython run the cell itself, and looks at the cache before and after.

The magic's line becomes an empty line before IPython compiles the cell, so that `await`, the last
expression, exceptions and line numbers are what they are without it. Where another magic runs the
cell (`%%time`, then `%%vcache`), it is run from within.
"""

from __future__ import annotations

import ast
import re
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError as IPythonUsageError
from IPython.display import display

from visioncache.jupyter.celldelta import CellDelta, peak_bytes, reset_peak
from visioncache.jupyter.session import UsageError
from visioncache.records import Delta

if TYPE_CHECKING:
    from argparse import Namespace

    from IPython.core.interactiveshell import InteractiveShell

    from visioncache.cache import VisionFeatureCache
    from visioncache.jupyter.magics import VisionCacheMagics
    from visioncache.vlm.attach import Attached

_LINE = re.compile(r"%%vcache(?![\w?])(?P<options>.*)")


class CellRun:
    """One cell, from its start to its end."""

    def __init__(self, magics: VisionCacheMagics, args: Namespace) -> None:
        self._magics = magics
        self._args = args
        self._open = ExitStack()
        self._cache, attached = self.check(magics, args)
        self._delta = Delta()
        for each in attached:
            self._open.enter_context(each.bypass())
        if magics.peak_memory:
            reset_peak()
        if self._cache is not None:
            self._delta = self._open.enter_context(self._cache.watch())

    @staticmethod
    def check(magics: VisionCacheMagics, args: Namespace) -> tuple[VisionFeatureCache | None, list[Attached]]:
        """The cache to look at and what is to bypass it; UsageError when a cell can't run so."""
        session = magics.session
        if not args.no_cache:
            return session.find(), []
        cache = session.cache()
        attached = session.attachments(cache)
        if not attached:
            raise UsageError("--no-cache: no model is attached to the cache, so none can bypass it")
        return cache, attached

    def end(self) -> None:
        """Bind what happened, and say it."""
        self._open.close()
        cache, delta = self._cache, self._delta
        if cache is None:
            cache = self._magics.session.find()
            if cache is not None:
                delta = CellDelta.whole_life(cache)
        peak = peak_bytes() if self._magics.peak_memory else None
        result = CellDelta.of(delta, peak, bypassed=self._args.no_cache)
        if self._args.output:
            self._magics.session.namespace[self._args.output] = result
        if self._args.quiet or self._magics.quiet:
            return
        if cache is None:
            print("vcache: there is no cache; `%vcache use NAME` makes one")  # noqa: T201  # one line
        else:
            display(result)


class CellRuns:
    """The hooks through which cells are seen to start and end."""

    def __init__(self, shell: InteractiveShell, magics: VisionCacheMagics) -> None:
        self._shell = shell
        self._magics = magics
        self._running: dict[int, CellRun | None] = {}
        """Runs by the identity of IPython's own record of the cell; None for cells without the magic."""

    def install(self) -> None:
        """Hook into the shell."""
        # First: before IPython's own turns a %% line into a call that has the cell as a string.
        self._shell.input_transformer_manager.line_transforms.insert(0, self._blank)
        self._shell.events.register("pre_run_cell", self._before)
        self._shell.events.register("post_run_cell", self._after)

    def remove(self) -> None:
        """Unhook."""
        self._shell.input_transformer_manager.line_transforms.remove(self._blank)
        self._shell.events.unregister("pre_run_cell", self._before)
        self._shell.events.unregister("post_run_cell", self._after)

    def run_inside(self, line: str, cell: str) -> Any:
        """Run a cell from within another one, as a magic below `%%time` must."""
        run = self._magics.orderly(CellRun, self._magics, self._magics.parse_cell(line))
        try:
            return self._evaluate(cell)
        finally:
            run.end()

    def _blank(self, lines: list[str]) -> list[str]:
        """Take our line out, unless its options are wrong or another magic runs the cell."""
        options = self._options("".join(lines[:1]))
        if options is None or self._nested or not "".join(lines[1:]).strip():
            return lines
        try:
            CellRun.check(self._magics, self._magics.parse_cell(options))
        except (IPythonUsageError, UsageError):
            return lines  # the magic is called, and says what is wrong
        # The next magic must come first to be seen; otherwise line numbers stay what they were.
        return lines[1:] if lines[1].startswith("%%") else ["\n", *lines[1:]]

    def _before(self, info: Any) -> None:
        run = None
        options = None if self._nested else self._options_of_cell(info.raw_cell)
        if options is not None:
            with suppress(IPythonUsageError, UsageError):  # then the magic is called, and says what is wrong
                run = CellRun(self._magics, self._magics.parse_cell(options))
        self._running[id(info)] = run

    def _after(self, result: Any) -> None:
        if result is None:  # an interrupted `await` leaves no result
            _, run = self._running.popitem()
        else:
            run = self._running.pop(id(result.info), None)
        if run is not None:
            run.end()
        widget = sys.modules.get("visioncache.jupyter.widget")
        if widget is not None:
            widget.refresh_views()

    @property
    def _nested(self) -> bool:
        return bool(self._running)

    def _options_of_cell(self, cell: str) -> str | None:
        """The options of a whole cell's first line, which may stand after empty lines or prompts."""
        if "%%vcache" not in cell:
            return None
        lines = cell.splitlines(keepends=True)
        for transform in self._shell.input_transformer_manager.cleanup_transforms:
            lines = transform(lines)
        return self._options(lines[0]) if "".join(lines[1:]).strip() else None

    @staticmethod
    def _options(line: str) -> str | None:
        match = _LINE.match(line)
        return match["options"] if match else None

    def _evaluate(self, cell: str) -> Any:
        """Run code in the notebook's namespace; the value of its last expression."""
        shell = self._shell
        source = shell.transform_cell(cell)
        name = shell.compile.cache(source, shell.execution_count, raw_code=cell)
        tree = shell.compile.ast_parse(source, filename=name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(shell.compile(tree, name, "exec"), shell.user_global_ns, shell.user_ns)  # noqa: S102  # the cell
        if last is None:
            return None
        value = shell.compile(ast.Expression(last.value), name, "eval")
        return eval(value, shell.user_global_ns, shell.user_ns)  # noqa: S307  # the cell
