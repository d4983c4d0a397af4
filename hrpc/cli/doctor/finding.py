"""What the doctor has found."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One line: what was looked at, what is the case, and, when that is not as it should be, what to do."""

    level: Literal["ok", "warning", "problem"]
    subject: str
    text: str


def ok(subject: str, text: str) -> Finding:
    """As it should be."""
    return Finding("ok", subject, text)


def warning(subject: str, text: str) -> Finding:
    """May be meant so, or will be a problem later."""
    return Finding("warning", subject, text)


def problem(subject: str, text: str) -> Finding:
    """Keeps the service from starting, from being found or from finding others."""
    return Finding("problem", subject, text)
