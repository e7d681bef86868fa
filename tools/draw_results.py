"""Draw the README's chart of published results: docs/sessions.png."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

from published import plot_results, published_results

from visioncache.study.data import data_path
from visioncache.study.trace.provenance import comment, files_told

if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "docs" / "sessions.png"
    results = published_results()
    plot_results(results[results["chip"].str.startswith("NVIDIA")]).savefig(
        target,
        dpi=130,
        facecolor="white",
        metadata={
            "Description": comment(files_told(sorted(data_path("results", "sessions").glob("*.json"))))
        },
    )
