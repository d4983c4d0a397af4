"""What a fault test has measured: told at the end of the run, and kept in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results.jsonl"


class Figures:
    """The figures of one run, in the order in which they were taken."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, test: str, **figures: float | str) -> None:
        """Keeps what `test` has measured; a name tells the unit: ``lag_p99_ms=12.5``."""
        told = ", ".join(f"{name} {_told(value)}" for name, value in figures.items())
        self.lines.append(f"{test}: {told}")
        with RESULTS.open("a") as results:
            results.write(json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%S"), "test": test, **figures}) + "\n")


def _told(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"


def share(values: Sequence[float], part: float) -> float:
    """The value below which this part of the values lies: 0.99 for the 99th percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
