"""The steps that a user adds to the start and to the end of a life, and their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, NamedTuple


class Priority(IntEnum):
    """Which of the steps of `with_pre_run` and of `with_post_run` come before others: the lowest first."""

    FIRST = 101
    SECOND = 102
    THIRD = 103
    FOURTH = 104
    FIFTH = 105
    SIXTH = 106
    SEVENTH = 107
    EIGHTH = 108
    NINTH = 109
    TENTH = 110


APPENDED = 10101
"""The priority of the first step that was given none; the next one has one more."""


class RunStep(NamedTuple):
    """A step of the user. See `with_pre_run`."""

    run: Callable[[], Any]
    name: str
    priority: int | None = None


def in_order(steps: Iterable[RunStep]) -> list[RunStep]:
    """The steps with the lowest priority first; those of the same in the order in which they were given."""
    appended = APPENDED
    ranked: list[tuple[int, RunStep]] = []
    for step in steps:
        ranked.append((appended if step.priority is None else step.priority, step))
        appended += step.priority is None
    return [step for _, step in sorted(ranked, key=lambda entry: entry[0])]
