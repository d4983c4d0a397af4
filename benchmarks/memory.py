"""Memory after the start and after many calls."""

from __future__ import annotations

from benchmarks import fleet
from benchmarks.load import Load, put
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from benchmarks.variants import FULL, FULL_NATIVE, Variant

VARIANTS = (FULL, FULL_NATIVE)


def memory(plan: Plan) -> Table:
    """Whether a server grows with the calls that it has answered."""
    few, many = plan.memory_calls
    return Table(
        "memory",
        "Resident memory in MB",
        f"After the first answers, after {few:,} calls, and after {many:,}.",
        tuple(_grown(variant, plan) for variant in VARIANTS),
    )


def _grown(variant: Variant, plan: Plan) -> Row:
    few, many = plan.memory_calls
    with fleet.running(variant, plan.folder) as instance:
        sizes = [instance.resident_megabytes()]
        for calls in (few, many - few):
            put(instance, Load(), plan.folder, calls=calls)
            sizes.append(instance.resident_megabytes())
    columns = ("after start", f"after {few:,} calls", f"after {many:,} calls")
    figures = {column: Spread.of([size]) for column, size in zip(columns, sizes, strict=True)}
    return Row(variant.name, figures | {"growth between": Spread.of([sizes[2] - sizes[1]])})
