"""Provenance: which trace, version, seed and parameters a table or picture comes from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

import visioncache

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pandas as pd


def about(asked: pd.DataFrame, **parameters: Any) -> dict[str, Any]:
    """Describe a result: `visioncache` (version), `trace` (digest), `lookups`, `images` and its parameters.

    A made trace adds how it was `made`, seed and options.

    Args:
        asked: look-ups, as `requests` gives them.
        parameters: how the result was made, as JSON holds them.
    """
    return {
        "visioncache": visioncache.__version__,
        "trace": trace_digest(asked),
        **({"made": asked.attrs["made"]} if "made" in asked.attrs else {}),
        "lookups": len(asked),
        "images": int(asked["image"].nunique()),
        **parameters,
    }


def trace_digest(asked: pd.DataFrame) -> str:
    """Digest what a simulation sees of a trace (who is who, bytes, seconds, times): 32 hex digits."""
    digest = blake3()
    for name in ("image", "nbytes", "seconds", "time"):
        digest.update(asked[name].to_numpy(np.float64, na_value=-1.0).tobytes())
    return digest.hexdigest(16)


def files_told(paths: Iterable[Path]) -> dict[str, Any]:
    """Describe a result that is made of files: `visioncache` (version), and the digest of each file."""
    files = {path.name: blake3(path.read_bytes()).hexdigest(16) for path in paths}
    return {"visioncache": visioncache.__version__, "files": files}


def comment(attrs: Mapping[Any, Any]) -> str:
    """Write a provenance as one line of text, for a file's head or a picture's description."""
    return json.dumps(dict(attrs), sort_keys=True, default=str)
