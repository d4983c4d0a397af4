"""What the pieces of the wrapper cost in a server, where they find the processor's caches full of other things."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from benchmarks import fleet, rounds
from benchmarks.fleet import Instance
from benchmarks.load import Load, put
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from benchmarks.servers.pieces import METHODS
from benchmarks.variants import FULL, WITHOUT, Variant

CALLS = 1000
"""Of one piece in one round: a third of a second."""

ALL = Variant(FULL.name, "pieces")
NO_AUDIT = Variant(WITHOUT[0].name, "pieces", ("--without", "audit"))


def pieces(plan: Plan) -> Table:
    """Microseconds of processor time that a call takes longer than one of the bare handler in the same process."""
    with fleet.all_running((ALL, NO_AUDIT), plan.folder) as instances:
        whole = _beyond(instances[ALL.name], {**METHODS, "Wrapped": FULL.name}, plan)
        without = _beyond(instances[NO_AUDIT.name], {"Wrapped": NO_AUDIT.name}, plan)
    rows = [Row(name, {"µs": micros}) for name, micros in (whole | without).items()]
    about = (
        "Microseconds of processor time beyond a call of the bare handler in the same process: the median of all "
        "rounds, and the middle half of them."
    )
    return Table("pieces", "The pieces of the wrapper in a server", about, tuple(rows))


def _beyond(instance: Instance, names: Mapping[str, str], plan: Plan) -> dict[str, Spread]:
    def measure(method: str) -> float:
        return put(instance, Load(method=method), plan.folder, calls=CALLS).cpu

    measured = rounds.interleaved(["Say", *names], plan.pieces, measure)
    return {
        name: _middle([own - bare for own, bare in zip(measured[method], measured["Say"], strict=True)])
        for method, name in names.items()
    }


def _middle(figures: list[float]) -> Spread:
    ordered = sorted(figures)
    quarter = len(ordered) // 4
    return Spread(median(ordered), ordered[quarter], ordered[-1 - quarter])
