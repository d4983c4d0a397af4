"""What the plugins set out to reach."""

from __future__ import annotations

from benchmarks.targets import Target

TARGETS: tuple[Target, ...] = ()
