"""Errors of traces: a line that is no event, and a trace that can't be used."""

from __future__ import annotations

from dataclasses import dataclass


class TraceError(ValueError):
    """A trace that can't be used; the message says where and why."""


@dataclass(frozen=True)
class BadLine:
    """A line that is no event, and why."""

    path: str
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}: {self.reason}"
