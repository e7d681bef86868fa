"""`visioncache simulate`: a trace under policies and capacities; it lives beside the simulator."""

from __future__ import annotations

from visioncache.study.sim.command import add_arguments
from visioncache.study.sim.command import run_simulate as run

__all__ = ["add_arguments", "run"]
