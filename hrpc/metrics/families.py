"""Families of samples from many collectors, each name once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from loguru import logger
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

TOLD_AT_MOST = 1000
"""Metrics that the log tells of."""

_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "gaugehistogram": ("", "_bucket", "_gcount", "_gsum"),
    "summary": ("", "_count", "_sum", "_created"),
    "info": ("", "_info"),
}
"""What a family appends to its name, by its type
(https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md#suffixes)."""


class Families:
    """What collectors give, read anew each time.

    No fault of one of them fails the others: what cannot be read, or has the name of something that came before it, is
    left out, and the log tells of it once.
    """

    def __init__(self, taken: Iterable[tuple[str, str]], collectors: Callable[[], Iterable[Collector]]) -> None:
        """`taken` are the names, with their types, that no collector can have; where theirs collide, the first wins."""
        self._taken = set[str]().union(*(_series(name, kind) for name, kind in taken))
        self._collectors = collectors
        self._told: set[str] = set()

    def __iter__(self) -> Iterator[Metric]:
        return (family for _, family in self.by_collector())

    def by_collector(self) -> Iterator[tuple[Collector, Metric]]:
        """Each family with the collector that gave it."""
        taken = set(self._taken)
        for collector in self._collectors():
            try:
                for family in collector.collect():
                    series = _series(family.name, family.type)
                    if taken.isdisjoint(series):
                        taken |= series
                        yield collector, family
                    else:
                        self.tell(family.name, "another metric has this name; rename it")
            except Exception as error:  # noqa: BLE001 - the other metrics are needed all the more
                self.tell(repr(collector), "it failed", error)

    def tell(self, what: str, why: str, error: Exception | None = None) -> None:
        """Logs, once, that something is left out."""
        if what not in self._told and len(self._told) < TOLD_AT_MOST:
            self._told.add(what)
            logger.opt(exception=error).warning("metrics: {} is left out: {}", what, why)


def _series(name: str, kind: str) -> set[str]:
    return {name + suffix for suffix in _SUFFIXES.get(kind, ("",))}
