"""Write measured figures into the README and the docs, between marks: python tools/write_tables.py.

A page names a table by `<!-- NAME -->` and `<!-- /NAME -->`. The figures come from data/results; a test holds the pages to them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from published import pixels, published_bits, published_first_looks, published_results
from roofline_error import predicted_alike, roofline_error
from shared_stores import fate, published_processes, summary
from simulated_ttft import compare, published_latency

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = {
    "qwen2.5-vl-3b": "Qwen2.5-VL-3B",
    "qwen2.5-vl-7b": "Qwen2.5-VL-7B",
    "qwen3-vl-4b": "Qwen3-VL-4B",
    "qwen3.5-4b": "Qwen3.5-4B",
    "smolvlm2-2.2b": "SmolVLM2 2.2B",
    "gemma-3-4b": "Gemma 3 4B",
    "gemma-4-e2b": "Gemma 4 E2B",
    "llava-1.5-7b": "LLaVA-1.5-7B",
    "demo-vlm": "the demo model",
}
IN_README = ["Qwen2.5-VL-3B", "Qwen2.5-VL-7B", "Qwen3-VL-4B", "Gemma 3 4B"]
CHIP = "NVIDIA H100"


def runs_of(session: str) -> pd.DataFrame:
    """Select the published runs of a session on the README's chip, an index of model, size and arm."""
    results = published_results()
    runs = results[(results["session"] == session) & ~results["prompt_cache"]]
    runs = runs[runs["chip"].str.startswith(CHIP)]
    return runs.assign(model=runs["model"].map(NAMES)).set_index(["model", "size", "arm"])


def few_sessions() -> str:
    """Write the README's table: one size, a few models, three arms."""
    runs = runs_of("album")["ttft_s"]
    rows = []
    for model in IN_README:
        none, theirs, ours = (runs[model, "1280x960", arm] for arm in ("none", "mlx-vlm", "visioncache"))
        rows.append(
            [model, f"{none:.1f} s", f"{theirs:.1f} s", f"**{ours:.1f} s**", f"{none / ours:.1f} times"]
        )
    head = ["", "no cache", "mlx-vlm's cache", "visioncache", "speed-up over no cache"]
    return table(head, rows)


def sessions() -> str:
    """Write every published run of the album."""
    runs = runs_of("album")
    rows = []
    for model, size in dict.fromkeys((name, size) for name, size, _ in runs.index):
        seconds = [runs.loc[(model, size, arm), "ttft_s"] for arm in ("none", "mlx-vlm", "visioncache")]
        ours = runs.loc[(model, size, "visioncache")]
        rows.append(
            [f"{model}, {size}"]
            + [f"{value:.1f} s" for value in seconds]
            + [f"{1 / ours['of_mlx_vlm']:.1f} times", f"{ours['hits_of_bound']:.2f}"]
        )
    head = ["model, photographs", "no cache", "mlx-vlm's cache", "visioncache", "speed-up over mlx-vlm's"]
    return table([*head, "turns of hits, over the language model's own"], rows)


def other_sessions() -> str:
    """Write how many times as fast as without a cache every other published session is."""
    seconds = {name: runs_of(name)["ttft_s"] for name in ("page", "page_chat", "branches")}
    measured = sorted({(model, size) for runs in seconds.values() for model, size, _ in runs.index})

    def gained(name: str, model: str, size: str) -> str:
        runs = seconds[name]
        if (model, size, "none") not in runs.index:
            return "-"
        return f"{runs[model, size, 'none'] / runs[model, size, 'visioncache']:.1f} times"

    rows = [
        [f"{model}, {size}", *(gained(name, model, size) for name in seconds)]
        for model, size in sorted(measured, key=lambda one: (one[0], pixels(one[1])))
    ]
    return table(["model, photographs", *(f"`{name}`" for name in seconds)], rows)


def memory() -> str:
    """Write the memory that each arm of the album reaches, and what our cache holds of it."""
    runs = runs_of("album")
    rows = []
    for model, size in dict.fromkeys((name, size) for name, size, _ in runs.index):
        peaks = [runs.loc[(model, size, arm), "peak_bytes"] for arm in ("none", "mlx-vlm", "visioncache")]
        held = runs.loc[(model, size, "visioncache"), "held_bytes"]
        rows.append(
            [f"{model}, {size}", *(f"{peak / 2**30:.2f} GiB" for peak in peaks), f"{held / 2**20:.1f} MiB"]
        )
    head = [
        "model, photographs",
        "peak without a cache",
        "with mlx-vlm's",
        "with visioncache",
        "held by visioncache",
    ]
    return table(head, rows)


def misses() -> str:
    """Write what a first look costs, by model and size."""
    rows = [
        [NAMES[row.model], row.size, row.chip, f"{1000 * row.none_s:.0f} ms", f"{row.ratio:.2f}"]
        for row in published_first_looks().itertuples()
    ]
    return table(["model", "photographs", "chip", "without a cache", "with an empty one"], rows)


def bits() -> str:
    """Write in how many turns bits are the same, by model, photographs, session and way of attention."""
    ways = {"same": "masked", "any": "as MLX picks it"}
    table_of = published_bits()
    table_of = table_of.assign(pixels=table_of["size"].map(pixels))
    order = ["attention", "model", "session", "pixels"]
    rows = [
        [
            NAMES[row.model],
            f"{row.size}, {row.session}",
            ways[row.attention],
            f"{row.single_as_none} of {row.single}",
            f"{row.several_as_none} of {row.several}",
            f"{row.logits_repeat} of {row.single + row.several}",
            f"{row.logits_apart:.3f}" if row.logits_apart else "0",
        ]
        for row in table_of.sort_values(order, ascending=[False, True, True, True]).itertuples()
    ]
    head = [
        "model",
        "photographs",
        "attention of single queries",
        "one image: as without a cache",
        "several: as without a cache",
        "logits repeat",
        "logits apart",
    ]
    return table(head, rows)


def roofline() -> str:
    """Write the roofline's predictions beside what was measured on an H100."""
    rows = [
        [
            f"{NAMES[row.model]}, {row.size}, {row.session}",
            f"{row.tower:.0%}",
            f"{row.prefill:.0%}",
            f"{row.predicted:.2f}",
            f"{row.measured:.2f}",
            f"{row.device_predicted:.2f}",
            f"{row.device_measured:.2f}",
        ]
        for row in roofline_error().itertuples()
    ]
    head = [
        "model, photographs, session",
        "rate reached by the tower",
        "by prefill",
        "ratio predicted",
        "measured",
    ]
    return table([*head, "of the device alone, predicted", "measured"], rows)


def predicted() -> str:
    """Write what the roofline predicts, chips that are alike in one row."""
    times = predicted_alike()
    rows = [[chips, *(f"{time:.1f} times" for time in times.loc[chips])] for chips in times.index]
    return table(["*predicted*", "features", "features and prefixes"], rows)


def latency() -> str:
    """Write simulated times to first token beside measured ones, by session and arm."""
    rows = [
        [
            row.session,
            {"none": "no cache", "visioncache": "visioncache"}[row.arm],
            f"{row.measured_s:.2f} s",
            f"{row.simulated_s:.2f} s",
            f"{row.error:+.0%}",
            f"{row.hits:.0%}",
            f"{row.simulated_hits:.0%}",
        ]
        for row in compare(published_latency()).itertuples()
    ]
    head = ["session", "", "measured", "simulated", "error", "images not encoded", "simulated"]
    return table(head, rows)


STORES = {
    "none": "no cache",
    "memory": "memory",
    "folder": "memory, folder",
    "server": "memory, server",
    "server killed": "memory, server killed",
}


def processes() -> str:
    """Write what processes that share a store find and encode, by number and store."""
    content = published_processes()
    machine, busy = content["machine"], content["load_before"]
    where = (
        f"*{machine['cores']} cores of {machine['chip']}, {machine['blas']}; trials: {content['arguments']['trials']}; "
        f"processes that wanted to run in the minute before: {busy:.1f}; commit {content['commit']}.*"
    )
    rows = [
        [
            str(row.processes),
            STORES[row.arm],
            f"{row.turns_s:.1f}",
            str(row.images),
            str(row.encodes),
            share(row.memory, row.lookups),
            share(row.store, row.lookups),
        ]
        for row in summary(content).itertuples()
    ]
    head = ["processes", "cache", "turns a second", "pictures", "encodes", "found in memory", "in the store"]
    return f"{table(head, rows)}\n\n{where}"


def lookups() -> str:
    """Write how long a look-up takes in processes that share a store: p50 and p99, by where it is answered."""
    rows = [
        [
            str(row.processes),
            STORES[row.arm],
            quantiles(row.memory_p50, row.memory_p99),
            quantiles(row.store_p50, row.store_p99),
            quantiles(row.miss_p50, row.miss_p99),
        ]
        for row in summary(published_processes()).itertuples()
        if row.lookups
    ]
    return table(["processes", "cache", "found in memory", "found in the store", "not found"], rows)


def killed() -> str:
    """Write what each of the most processes got before and after their server was killed."""
    told = fate(published_processes())
    rows = [
        [
            str(row.process),
            f"{row.before}: {row.store_hits_before}, {row.encodes_before}",
            f"{row.after}: {row.memory_hits_after}, {row.store_hits_after}, {row.encodes_after}",
            milliseconds(row.slowest_lookup_after_s),
            str(row.exceptions),
            f"{row.store_errors}, {row.warnings}",
            "the same" if row.tokens_equal else "OTHERS",
        ]
        for row in told[told["processes"] == told["processes"].max()].itertuples()
    ]
    head = [
        "process",
        "turns before: hits in the store, encodes",
        "turns after: hits in memory, in the store, encodes",
    ]
    seen = ["slowest look-up after", "exceptions", "faults counted, warnings", "answers"]
    return table([*head, *seen], rows)


def share(part: float, lookups: int) -> str:
    """Write a share of look-ups, where there were any."""
    return f"{part:.0%}" if lookups else ""


def quantiles(p50: float, p99: float) -> str:
    """Write two quantiles of seconds; nothing where there were no look-ups."""
    return f"{milliseconds(p50)}, {milliseconds(p99)}" if p50 == p50 else ""  # noqa: PLR0124  # not a NaN


def milliseconds(seconds: float) -> str:
    """Write seconds as milliseconds, to two digits."""
    return f"{float(f'{1000 * seconds:.2g}'):g} ms"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table in Markdown."""
    lines = [list(head), ["---"] * len(list(head)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


TABLES = {
    "few-sessions": few_sessions,
    "sessions": sessions,
    "other-sessions": other_sessions,
    "memory": memory,
    "misses": misses,
    "bits": bits,
    "roofline": roofline,
    "latency": latency,
    "predicted": predicted,
    "processes": processes,
    "processes-lookups": lookups,
    "processes-killed": killed,
}


def updated(text: str) -> str:
    """Return a page's text with its tables as the results have them now."""
    for name, make in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        if re.search(pattern, text, re.DOTALL):
            written = make()
            text = re.sub(
                pattern,
                lambda marks, written=written: f"{marks[1]}{written}\n{marks[2]}",
                text,
                flags=re.DOTALL,
            )
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")
