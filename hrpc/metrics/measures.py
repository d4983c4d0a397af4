"""What parts of a server tell of themselves when they are scraped, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

Observed = tuple[list[int], float]
"""What a histogram saw: how many values in each bucket, and their sum."""

Reading = float | None | Mapping[str, float] | Mapping[tuple[str, ...], float] | Mapping[str, Observed]
"""A number; None when there is none now; with labels, a number for each value of the label, or tuple of values."""


Mode = Literal["sum", "max", "min", "each"]
"""What becomes of the values that several workers have for a gauge: one number, or one for each with a label."""


class Measure(NamedTuple):
    """A number with a name, or several that labels tell apart. `read` is called in the event loop."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    read: Callable[[], Reading]
    labels: tuple[str, ...] = ()
    workers: Mode = "sum"
    buckets: tuple[float, ...] = ()
    """The upper bounds of a histogram's."""


class Measures:
    """Those of one server. A part adds its own at any time.

    ::

        measures.counter("hrpc_audit_dropped", "Audit lines that were dropped.", lambda: audit.dropped)
        measures.gauge("hrpc_pool_waiting", "Callers that wait for a connection.", pools.waiting, labels=("pool",))
    """

    def __init__(self) -> None:
        self._measures: list[Measure] = []

    def counter(self, name: str, help: str, read: Callable[[], Reading], labels: tuple[str, ...] = ()) -> None:
        """Adds what only grows; it is exported with ``_total`` at its end."""
        self._measures.append(Measure("counter", name, help, read, labels))

    def gauge(
        self,
        name: str,
        help: str,
        read: Callable[[], Reading],
        labels: tuple[str, ...] = (),
        *,
        workers: Mode = "sum",
    ) -> None:
        """Adds what rises and falls; `workers` says what is told of several workers."""
        self._measures.append(Measure("gauge", name, help, read, labels, workers))

    def histogram(
        self,
        name: str,
        help: str,
        read: Callable[[], Mapping[str, Observed]],
        buckets: tuple[float, ...],
        labels: tuple[str, ...],
    ) -> None:
        """Adds how often values fell into which bucket; the last count is of those above all bounds."""
        self._measures.append(Measure("histogram", name, help, read, labels, buckets=buckets))

    def __iter__(self) -> Iterator[Measure]:
        return iter(list(self._measures))
