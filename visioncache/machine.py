"""The machine that numbers come from: chip, system, versions, commit, BLAS."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mlx.core as mx

import visioncache


def describe_machine() -> dict[str, Any]:
    """Give chip, device, system, versions, commit and, on the CPU, the BLAS, as a result file holds them."""
    device = mx.default_device().type.name
    info = mx.device_info() if device == "gpu" else {}
    return {
        "chip": str(info.get("device_name") or cpu_name()),
        "device": device,
        "backend": "Metal" if device == "gpu" and platform.system() == "Darwin" else device.upper(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "mlx": version("mlx"),
        "mlx_vlm": installed("mlx-vlm"),
        "visioncache": visioncache.__version__,
        "commit": commit(),
        "blas": blas() if device == "cpu" else None,
    }


def installed(distribution: str) -> str:
    """Give the version of a package; its own word where it is only imported, as from a checkout."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(distribution.replace("-", "_")), "__version__", ""))


def commit() -> str | None:
    """Give the commit of a checkout, "-dirty" where its code was changed since; None if it is installed.

    `$VISIONCACHE_COMMIT` says it where it is set, for a copy that git knows nothing of.
    """
    told, root = os.environ.get("VISIONCACHE_COMMIT"), Path(__file__).parents[1]
    if told or not (root / ".git").exists():
        return told
    changed = _git(root, "status", "--porcelain", "--", "visioncache", "benchmarks")
    name = _git(root, "rev-parse", "--short=12", "HEAD")
    return f"{name}-dirty" if name and changed else name or None


def _git(root: Path, *command: str) -> str:
    try:
        said = subprocess.run(  # noqa: S603  # git, wherever it is
            ["git", "-C", str(root), *command],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def cpu_name() -> str:
    """The processor's own name for itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def blas() -> str:
    """Which BLAS MLX calls on the CPU, as far as the process's own libraries tell."""
    if platform.system() == "Darwin":
        return "Accelerate"
    maps = Path("/proc/self/maps")
    lines = maps.read_text(encoding="utf-8").splitlines() if maps.is_file() else []
    loaded = {Path(line.split()[-1]) for line in lines if "openblas" in line}
    # NumPy brings an OpenBLAS of its own, which MLX does not call.
    system = sorted(path.name for path in loaded if "site-packages" not in path.parts)
    return f"OpenBLAS ({system[0]})" if system else "reference BLAS of the mlx wheel"
