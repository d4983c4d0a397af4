"""What the plugins set out to reach."""

from __future__ import annotations

from benchmarks.plugins import inmemory
from benchmarks.targets import Target

TARGETS: tuple[Target, ...] = (
    Target("hrpc-inmemory: a read that finds a value, µs", "inmemory", inmemory.GET, inmemory.MICROS, at_most=0.5),
)
