"""What one worker measures, as plain values that another process can add to those of the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from hrpc.metrics.calls import Calls, Counts
from hrpc.metrics.collectors import modes
from hrpc.metrics.families import Families
from hrpc.metrics.measures import Mode

GROWING = frozenset({"counter", "histogram", "gaugehistogram", "summary"})
"""Types whose values are added up."""

Labels = tuple[tuple[str, str], ...]
Exemplar = tuple[Mapping[str, str], float, float | None]
"""Its labels, value and time."""


class Value(NamedTuple):
    """A sample: its name, its labels, its value, and an example."""

    name: str
    labels: Labels
    value: float
    exemplar: Exemplar | None = None


class Family(NamedTuple):
    """A metric: `workers` says what becomes of its values when there are several processes."""

    name: str
    kind: str
    help: str
    unit: str
    workers: Mode
    values: tuple[Value, ...]


class Share(NamedTuple):
    """What a process has measured. `final`: it will not measure anything more."""

    pid: int
    calls: Mapping[tuple[str, bool, bool], Counts]
    """By the method's path, and whether its requests and its responses are streams."""
    families: tuple[Family, ...]
    final: bool = False

    def told(self) -> list[Any]:
        """As values that JSON knows."""
        return [self.pid, [[*method, counts] for method, counts in self.calls.items()], self.families, self.final]

    @classmethod
    def heard(cls, told: list[Any]) -> Share:
        """What `told` gave, after it was JSON."""
        pid, calls, families, final = told
        return cls(
            pid,
            {(path, requests, responses): Counts(*counts) for path, requests, responses, counts in calls},
            tuple(_family(*family) for family in families),
            final,
        )


class OwnShare:
    """The share of this process, from now on: what was counted before the fork is the parent's."""

    def __init__(self, calls: Calls, families: Families) -> None:
        self._calls = calls
        self._families = families
        self._before = {
            (family.name, value.name, value.labels): value.value
            for _, family in read(families, False)
            if family.kind in GROWING
            for value in family.values
        }

    def now(self, examples: bool = False, *, final: bool = False) -> Share:
        """What was measured until now, with `examples` or without."""
        calls = {
            (method.path, method.request_streaming, method.response_streaming): method.counts(examples)
            for method in self._calls
        }
        families = tuple(self._since(family) for _, family in read(self._families, examples))
        return Share(os.getpid(), calls, families, final)

    def _since(self, family: Family) -> Family:
        if not self._before or family.kind not in GROWING:
            return family
        before = self._before
        values = (
            value._replace(value=value.value - before.get((family.name, value.name, value.labels), 0.0))
            if not value.name.endswith("_created")
            else value
            for value in family.values
        )
        return family._replace(values=tuple(values))


def read(families: Families, examples: bool) -> Iterator[tuple[Collector, Family]]:
    """All families as plain values, each with the collector that gave it."""
    last: Collector | None = None
    known: Mapping[str, Mode] = {}
    for collector, family in families.by_collector():
        if collector is not last:
            last, known = collector, modes(collector)
        yield collector, _plain(family, known.get(family.name, "each"), examples)


def _plain(family: Metric, workers: Mode, examples: bool) -> Family:
    values = tuple(
        Value(
            sample.name,
            tuple(sorted(sample.labels.items())),
            float(sample.value),
            _exemplar(sample.exemplar) if examples and sample.exemplar is not None else None,
        )
        for sample in family.samples
    )
    return Family(family.name, family.type, family.documentation, family.unit, workers, values)


def _exemplar(exemplar: Any) -> Exemplar:
    return exemplar.labels, float(exemplar.value), None if exemplar.timestamp is None else float(exemplar.timestamp)


def _family(name: str, kind: str, help: str, unit: str, workers: Mode, values: list[list[Any]]) -> Family:
    return Family(
        name,
        kind,
        help,
        unit,
        workers,
        tuple(
            Value(
                name, tuple((label, text) for label, text in labels), value, None if example is None else tuple(example)
            )
            for name, labels, value, example in values
        ),
    )
