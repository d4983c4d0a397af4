"""Figures of rounds: every server once in each, the order reversed each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """The middle of some figures, and their ends."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Of at least one."""
        return cls(median(figures), min(figures), max(figures))


def interleaved(names: Sequence[str], rounds: int, measure: Callable[[str], T]) -> dict[str, list[T]]:
    """Measures each name once in a round; every second round backwards, so that no one profits from its place."""
    measured: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            measured[name].append(measure(name))
    return measured


def ratios(figures: Mapping[str, Sequence[float]], baseline: str) -> dict[str, Spread]:
    """Each name's figures as ratios to those of the baseline in the same round."""
    return {
        name: Spread.of([figure / of for figure, of in zip(own, figures[baseline], strict=True)])
        for name, own in figures.items()
    }
