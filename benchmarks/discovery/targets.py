"""What discovery and channels set out to reach."""

from __future__ import annotations

from benchmarks.discovery import calls, changes, lookups, names, pickers, returns
from benchmarks.plan import Plan
from benchmarks.targets import Target

_MANY = names.followed(Plan.names)


def _picks(name: str) -> list[Target]:
    return [
        Target(f"{name}: {pickers.pick_of(size)}", "pickers", name, pickers.pick_of(size), at_most=2)
        for size in pickers.SIZES
    ]


TARGETS = (
    Target("`service.get(name).target()`, µs", "lookups", lookups.GET, "µs", at_most=1),
    *(target for name in pickers.PICKERS for target in _picks(name)),
    Target(f"{_MANY} with {names.INSTANCES} instances each: start, s", "names", _MANY, names.START, at_most=10),
    Target("the same: idle, % of a core", "names", _MANY, names.IDLE, at_most=2),
    Target("the same: memory of a name, KB", "names", _MANY, names.MEMORY, at_most=50),
    *(
        Target(f"{name}: seen, p99, ms", "changes", name, changes.NEARLY_ALL, at_most=100)
        for name in (changes.ADDED, changes.REMOVED)
    ),
    Target(f"{calls.OURS_ONE}, against {calls.BARE_ONE}", "channel-one", calls.OURS_ONE, calls.RATIO, at_least=0.95),
    Target(
        f"{calls.OURS_THREE}, against {calls.BARE_THREE}",
        "channel-three",
        calls.OURS_THREE,
        calls.RATIO,
        at_least=1,
    ),
    Target("registered again when the agent is back, longest, s", "returns", returns.LOST, returns.LONGEST, at_most=2),
)
