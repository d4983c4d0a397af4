"""What hrpc sets out to reach, and whether it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Table, shown
from benchmarks.variants import DEFAULT, FULL, FULL_NATIVE, JOINED, NAIVE, TUNED, WORKED, with_methods, with_workers


@dataclass(frozen=True)
class Target:
    """A bound of one figure: at least, or at most."""

    what: str
    table: str
    row: str
    column: str
    at_least: float | None = None
    at_most: float | None = None

    def cells(self, tables: Sequence[Table]) -> list[str] | None:
        """What it is, its bound, the figure, and whether it is reached; None where it was not measured."""
        for table in tables:
            for row in table.rows:
                if (table.key, row.name) == (self.table, self.row) and self.column in row.figures:
                    figure = row.figures[self.column]
                    bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
                    return [self.what, bound, shown(figure), "yes" if self._holds(figure.median) else "no"]
        return None

    def _holds(self, figure: float) -> bool:
        # As it is shown: what differs in the third place is noise.
        figure = round(figure, 2)
        return (self.at_least is None or figure >= self.at_least) and (self.at_most is None or figure <= self.at_most)


_PER_CPU = "calls per CPU time"

TARGETS = (
    Target("everything on, against bare grpc.aio", "stack", FULL.name, _PER_CPU, at_least=0.95),
    Target("the same, tuned", "stack", TUNED.name, _PER_CPU, at_least=1.10),
    Target("the same, on the native engine", "stack", FULL_NATIVE.name, _PER_CPU, at_least=8),
    Target("everything on, against five interceptors", "stack", FULL.name, f"against {NAIVE.name}", at_least=1.5),
    Target("200 methods, against one", "methods", with_methods(FULL, 200).name, _PER_CPU, at_least=0.95),
    Target("what the wrapper adds in a loop, µs", "hot-loop", FULL.name, "plain", at_most=5),
    Target("growth between 100,000 and a million calls, MB", "memory", FULL.name, "growth between", at_most=1),
    Target("the same, on the native engine", "memory", FULL_NATIVE.name, "growth between", at_most=1),
    Target("`import hrpc` beyond `import grpc.aio`, ms", "imports", "hrpc", "beyond grpc.aio", at_most=30),
    Target("start to the first answer, no option chosen", "starts", DEFAULT.name, "time", at_most=2),
    Target("start to the first answer, with Consul, health and metrics", "starts", JOINED.name, "time", at_most=5),
)

WORKERS = tuple(
    Target(
        f"calls per CPU time of two workers against one, {key}",
        f"workers-{key}",
        with_workers(variant, 2).name,
        _PER_CPU,
        at_least=1 / 1.25,
    )
    for key, variant in WORKED.items()
)
