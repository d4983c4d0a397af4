"""The shares of several processes as one: what a scrape of a server with workers tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from hrpc.metrics.calls import Calls
from hrpc.metrics.share import GROWING, Family, Labels, Share, Value

LABEL = "worker"
"""The label that tells processes apart, of gauges that are not made one."""

OWN = "master"
"""The value of that label for the process that adds up."""


class Total(Collector):
    """Adds up what processes have told.

    What grows never falls: a process that does not answer counts with what it told last, and one that has ended goes on
    to count so. What rises and falls is of those alone that have just answered.
    """

    def __init__(self, buckets: Sequence[float]) -> None:
        """`buckets` are the upper bounds, in seconds, of the histogram of times."""
        self.calls = Calls(buckets)
        self._ended = Calls(buckets)
        self._newest: dict[int, Share] = {}
        self._gone: set[int] = set()
        self._values: dict[str, _Sum] = {}
        self._families: list[Metric] = []

    def __repr__(self) -> str:
        return "the metrics of workers"

    def collect(self) -> Iterator[Metric]:
        """The families of the last `add_up`."""
        return iter(self._families)

    def take(self, share: Share) -> None:
        """The newest share of a process."""
        self._newest[share.pid] = share

    def add_up(self, fresh: Mapping[int, str], running: Iterable[int], own: Iterable[Family] = ()) -> None:
        """Makes `calls` and what `collect` gives.

        `fresh` are the processes, by pid, whose gauges count, with the value of their `LABEL`; `running` are all that
        can still tell something. `own` are families of this process.
        """
        self._keep_of_ended(set(running))
        calls = self._ended.copy()
        sums = {name: kept.copy() for name, kept in self._values.items()}
        for family in own:
            _into(sums, family, OWN)
        for pid, share in self._newest.items():
            _count(calls, share, running=pid in fresh)
            for family in share.families:
                if family.kind in GROWING or pid in fresh:
                    _into(sums, family, fresh.get(pid, ""))
        self.calls.take_over(calls)
        self._families = [found.metric() for found in sums.values() if found.values]

    def _keep_of_ended(self, running: set[int]) -> None:
        # What a process tells at its very end may arrive after the news of its end: it has until the next time.
        gone = {pid for pid, share in self._newest.items() if pid not in running and not share.final}
        for pid in [pid for pid, share in self._newest.items() if share.final or pid in self._gone & gone]:
            share = self._newest.pop(pid)
            _count(self._ended, share, running=False)
            for family in share.families:
                if family.kind in GROWING:
                    _into(self._values, family, "")
        self._gone = gone & self._newest.keys()


class _Sum:
    """One family of all processes."""

    def __init__(self, family: Family) -> None:
        self.family = family._replace(values=())
        self.values: dict[tuple[str, Labels], Value] = {}

    def copy(self) -> _Sum:
        copied = _Sum(self.family)
        copied.values = self.values.copy()
        return copied

    def add(self, values: Iterable[Value], worker: str) -> None:
        each = self.family.workers == "each" and self.family.kind not in GROWING and self.family.kind != "info"
        for value in values:
            if each and worker:
                value = value._replace(labels=tuple(sorted({**dict(value.labels), LABEL: worker}.items())))
            key = value.name, value.labels
            there = self.values.get(key)
            self.values[key] = value if there is None else self._both(there, value)

    def _both(self, one: Value, other: Value) -> Value:
        a, b = one.value, other.value
        exemplar = max((one.exemplar, other.exemplar), key=_age)
        if self.family.kind in GROWING:
            return one._replace(value=min(a, b) if one.name.endswith("_created") else a + b, exemplar=exemplar)
        if self.family.workers == "sum":
            return one._replace(value=a + b)
        return one._replace(value=min(a, b) if self.family.workers == "min" else max(a, b))

    def metric(self) -> Metric:
        name, kind, help, unit, _, _ = self.family
        metric = Metric(name, help, kind, unit)
        metric.samples = [
            Sample(value.name, dict(value.labels), value.value, None, _example(value)) for value in self.values.values()
        ]
        return metric


def _into(sums: dict[str, _Sum], family: Family, worker: str) -> None:
    found = sums.get(family.name)
    if found is None:
        found = sums[family.name] = _Sum(family)
    if found.family.kind == family.kind:
        found.add(family.values, worker)


def _count(calls: Calls, share: Share, *, running: bool) -> None:
    for (path, requests, responses), counts in share.calls.items():
        calls.method(path, requests, responses).add(counts if running else counts._replace(in_flight=0))


def _age(exemplar: Any) -> float:
    return float("-inf") if exemplar is None else exemplar[2] or 0.0


def _example(value: Value) -> Exemplar | None:
    return None if value.exemplar is None else Exemplar(dict(value.exemplar[0]), value.exemplar[1], value.exemplar[2])
