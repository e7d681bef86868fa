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
from functools import partial
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError as IPythonUsageError
from IPython.display import display
from IPython.utils.capture import capture_output

from visioncache.jupyter.celldelta import STAGES, CellDelta, peak_bytes, reset_peak
from visioncache.jupyter.rewind import State, chats
from visioncache.jupyter.runs import Comparison
from visioncache.jupyter.session import UsageError
from visioncache.records import Delta

if TYPE_CHECKING:
    from argparse import Namespace

    from IPython.core.interactiveshell import InteractiveShell

    from visioncache.cache import VisionFeatureCache
    from visioncache.events import Event
    from visioncache.jupyter.magics import VisionCacheMagics
    from visioncache.vlm.attach import Attached

_LINE = re.compile(r"%%vcache(?![\w?])(?P<options>.*)")


class CellRun:
    """One run of a cell, from its start to its end."""

    def __init__(self, magics: VisionCacheMagics, args: Namespace, *, bypassed: bool | None = None) -> None:
        self._magics = magics
        self._args = args
        self._open = ExitStack()
        self._bypassed = args.no_cache if bypassed is None else bypassed
        self._cache, attached = self.check(magics, args)
        self._delta = Delta()
        self._turns = self._turns_of_chats()
        for each in attached if self._bypassed else []:
            self._open.enter_context(each.bypass())
        self._stages = [(each.stages, each.stages.totals()) for each in ([] if self._bypassed else attached)]
        if magics.peak_memory:
            reset_peak()
        self._before: list[Event] = []
        if self._cache is not None:
            self._before = list(self._cache.events)
            self._delta = self._open.enter_context(self._cache.watch())

    @staticmethod
    def check(magics: VisionCacheMagics, args: Namespace) -> tuple[VisionFeatureCache | None, list[Attached]]:
        """The cache to look at and what is attached to it; UsageError when a cell can't run so."""
        session = magics.session
        option = "--no-cache" if args.no_cache else "--compare" if args.compare else ""
        if not option:
            cache = session.find()
            return cache, [] if cache is None else session.attachments(cache)
        cache = session.cache()
        attached = session.attachments(cache)
        if not attached:
            raise UsageError(f"{option}: no model is attached to the cache, so none can bypass it")
        return cache, attached

    def end(self) -> None:
        """Bind what happened, and say it."""
        result = self.finish()
        self.tell(result)

    def finish(self) -> CellDelta:
        """Stop looking; what happened since the start."""
        self._open.close()
        cache, delta, seen = self._cache, self._delta, len(self._before)
        if cache is None:
            cache = self._cache = self._magics.session.find()
            if cache is not None:
                delta, seen = CellDelta.whole_life(cache), 0
        events = list(cache.events) if cache is not None else []
        last = self._before[-1] if seen else None
        new = next((i for i in range(len(events), 0, -1) if events[i - 1] is last), 0)
        spent = [stages.totals().since(before) for stages, before in self._stages]
        requests = [one for stages, before in self._stages for one in stages.turns_since(before)]
        return CellDelta.of(
            delta,
            peak_bytes=peak_bytes() if self._magics.peak_memory else None,
            bypassed=self._bypassed,
            encodes=sum(each.counts["tower"] for each in spent) if spent else None,
            stages={name: sum(each.seconds[name] for each in spent) for name in STAGES} if spent else {},
            requests=[{name: float(one.seconds[name]) for name in STAGES} for one in requests],
            turns=[turn for turn in self._turns_of_chats() if not any(turn is old for old in self._turns)],
            events=events[new:],
            before=self._before,
        )

    def tell(self, result: CellDelta | Comparison) -> None:
        """Bind and show what came out."""
        session = self._magics.session
        if self._args.output:
            session.namespace[self._args.output] = result
        if self._args.name and isinstance(result, CellDelta):
            session.runs[self._args.name] = result
        elif self._args.name and isinstance(result, Comparison):
            session.runs |= {
                f"{self._args.name} bypassed": result.bypassed,
                f"{self._args.name} cached": result.cached,
            }
        if self._args.quiet or self._magics.quiet:
            return
        if self._cache is None:
            print("vcache: there is no cache; `%vcache use NAME` makes one")  # noqa: T201  # one line
        else:
            display(result)

    def _turns_of_chats(self) -> list[Any]:
        return [turn for chat in chats(self._magics.session.namespace) for turn in chat.turns]


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
        args = self._magics.parse_cell(line)
        if args.compare:
            return self._compare(args, cell)
        run = self._magics.orderly(CellRun, self._magics, args)
        try:
            return self._evaluate(cell)
        finally:
            run.end()

    def _compare(self, args: Namespace, cell: str) -> Any:
        """Run a cell bypassed, put back what it changed, run it cached; show both side by side."""
        first = self._magics.orderly(partial(CellRun, bypassed=True), self._magics, args)
        state = State(self._magics.session.namespace)
        try:
            with capture_output() as seen:
                value = self._evaluate(cell)
        finally:
            bypassed = first.finish()
        state.restore()
        second = CellRun(self._magics, args, bypassed=False)
        try:
            with capture_output() as shown:
                again = self._evaluate(cell)
        finally:
            cached = second.finish()
            shown.show()
        same, compared = agree(bypassed.turns, cached.turns, (value, again), (seen.stdout, shown.stdout))
        second.tell(Comparison(bypassed, cached, same, compared))
        return again

    def _blank(self, lines: list[str]) -> list[str]:
        """Take our line out, unless its options are wrong or another magic runs the cell."""
        options = self._options("".join(lines[:1]))
        if options is None or self._nested or not "".join(lines[1:]).strip():
            return lines
        try:
            args = self._magics.parse_cell(options)
            CellRun.check(self._magics, args)
            if args.compare:
                return lines  # it is run twice, from within
        except (IPythonUsageError, UsageError):
            return lines  # the magic is called, and says what is wrong
        # The next magic must come first to be seen; otherwise line numbers stay what they were.
        return lines[1:] if lines[1].startswith("%%") else ["\n", *lines[1:]]

    def _before(self, info: Any) -> None:
        run = None
        options = None if self._nested else self._options_of_cell(info.raw_cell)
        if options is not None:
            with suppress(IPythonUsageError, UsageError):  # then the magic is called, and says what is wrong
                args = self._magics.parse_cell(options)
                run = None if args.compare else CellRun(self._magics, args)
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


def agree(
    bypassed: list[Any], cached: list[Any], values: tuple[Any, Any], printed: tuple[str, str]
) -> tuple[bool | None, str]:
    """Compare what two runs of a cell gave: the tokens of turns, else values, else printed text."""
    if bypassed or cached:
        return [turn.tokens for turn in bypassed] == [turn.tokens for turn in cached], "tokens"
    one, other = (getattr(value, "text", value) for value in values)
    if isinstance(one, (str, int, float, tuple, list)) and type(one) is type(other):
        return one == other, "values"
    if any(printed):
        return printed[0] == printed[1], "printed text"
    return None, "none"
