"""What a service measures of its own: cells that are changed under a lock, and read when they are scraped."""

from __future__ import annotations

import re
import sys
import threading
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, ClassVar, Generic, TypeVar, get_args

from hrpc.errors import MetricError
from hrpc.metrics.measures import Mode, Observed

MODES: tuple[Mode, ...] = get_args(Mode)

SERIES_AT_MOST = 1000
"""Combinations of label values of one metric. More count as ``other``, so that no caller can fill the memory."""

Key = tuple[str, ...]
Read = Callable[[], float | Mapping[Any, float]]
"""Tells the value now, or with labels one for each value of the label, or tuple of values."""

LARGEST = sys.float_info.max
"""What a counter can grow by at once: values are floats in Prometheus."""

V = TypeVar("V", float, Observed)

_FOREIGN = re.compile(r"[^A-Za-z0-9_]")
_LABEL = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def exported(name: str) -> str:
    """A name as Prometheus takes it
    (https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels)."""
    spelt = _FOREIGN.sub("_", name)
    return f"_{spelt}" if spelt[:1].isdigit() else spelt


class Instrument(ABC, Generic[V]):
    """A metric with a value for each combination of its labels' values. Safe for threads."""

    kind: ClassVar[str]
    reserved: ClassVar[frozenset[str]] = frozenset()
    """Labels that it cannot have."""
    suffixes: ClassVar[tuple[str, ...]] = ("",)

    def __init__(self, name: str, help: str, labels: Iterable[str], read: Read | None = None) -> None:
        self.name = name
        self.help = help
        self.labels = self._checked(name, help, labels)
        self.read = read
        self._lock = threading.Lock()
        self._values: dict[Key, V] = {} if self.labels or read is not None else {(): self._zero()}
        self._pick = _picker(self.labels)

    @property
    def exported(self) -> str:
        """The name as Prometheus takes it, without that of the server."""
        return _FOREIGN.sub("_", self.name)

    @property
    def series(self) -> frozenset[str]:
        """The names that it takes in Prometheus."""
        return frozenset(self.exported + suffix for suffix in self.suffixes)

    def same(self, other: Instrument[V]) -> bool:
        """Whether both are registered alike."""
        return (type(self), self.help, self.labels, self.read) == (type(other), other.help, other.labels, other.read)

    def values(self) -> dict[Key, V]:
        """The value now for each combination of label values."""
        with self._lock:
            return self._values.copy()

    @abstractmethod
    def _zero(self) -> V:
        """The value of a combination of labels that has not been touched."""

    def _key(self, labels: Mapping[str, object]) -> Key:
        """The key of a value that is there."""
        try:
            key: Key = self._pick(labels)
            # Labels that were picked but are no strings are not there, unless they are equal to strings.
            if key in self._values and len(key) == len(labels):
                return key
        except (KeyError, TypeError):
            pass
        return self._new_key(labels)

    def _new_key(self, labels: Mapping[str, object]) -> Key:
        if self.read is not None:
            raise MetricError(f"{self.kind} {self.name!r}: it is read when it is scraped, and cannot be changed")
        if set(labels) != set(self.labels):
            raise MetricError(
                f"{self.kind} {self.name!r}: takes the labels {', '.join(self.labels) or '(none)'}, "
                f"and was given {', '.join(labels) or '(none)'}"
            )
        key = tuple(str(labels[label]).encode(errors="replace").decode() for label in self.labels)
        with self._lock:
            if key not in self._values and len(self._values) >= SERIES_AT_MOST:
                key = ("other",) * len(key)
            self._values.setdefault(key, self._zero())
        return key

    def _checked(self, name: str, help: str, labels: Iterable[str]) -> tuple[str, ...]:
        what = f"{self.kind} {name!r}"
        if not isinstance(name, str) or not re.search("[A-Za-z0-9]", name):
            raise MetricError(f"{what}: takes a name of letters, digits and underscores")
        if not isinstance(help, str) or not help:
            raise MetricError(f"{what}: takes a help text, which says what is measured, and in which unit")
        names = () if isinstance(labels, str) else tuple(labels)
        if isinstance(labels, str) or len(set(names)) != len(names):
            raise MetricError(f"{what}: labels={labels!r}: takes a tuple of names, each of them once")
        for label in names:
            if not isinstance(label, str) or not _LABEL.fullmatch(label) or label in self.reserved:
                raise MetricError(
                    f"{what}: a label cannot be named {label!r}; take letters, digits and underscores, none of "
                    f"{', '.join(sorted(self.reserved)) or 'them'} first"
                )
        return names


class Number(Instrument[float]):
    """One number."""

    def values(self) -> dict[Key, float]:
        if self.read is None:
            return super().values()
        told: Any = self.read()
        if not isinstance(told, Mapping):
            told = {(): told}
        found = {(key,) if isinstance(key, str) else key: _number(self, value) for key, value in told.items()}
        for key in found:
            if len(key) != len(self.labels):
                raise MetricError(
                    f"{self.kind} {self.name!r}: takes the labels {', '.join(self.labels) or '(none)'}, and what is "
                    f"read has {len(key)} of them"
                )
        return found

    def _zero(self) -> float:
        return 0.0


class Counter(Number):
    """What only grows."""

    kind = "counter"
    reserved = frozenset({"by"})
    suffixes = ("", "_total", "_created")

    @property
    def exported(self) -> str:
        return super().exported.removesuffix("_total")

    def add(self, by: float, labels: Mapping[str, object]) -> None:
        """Grows."""
        if type(by) is not int and type(by) is not float:
            by = _number(self, by)
        if not 0 <= by <= LARGEST:
            raise MetricError(
                f"counter {self.name!r}: cannot grow by {by!r}; what can fall is a gauge, see metrics.register_gauge"
            )
        key = self._key(labels)
        with self._lock:
            self._values[key] += by


class Gauge(Number):
    """What rises and falls."""

    kind = "gauge"

    def __init__(
        self, name: str, help: str, labels: Iterable[str], workers: Mode = "each", read: Read | None = None
    ) -> None:
        """`workers`: what is told of the values of several workers."""
        super().__init__(name, help, labels, read)
        if workers not in MODES:
            raise MetricError(f"gauge {name!r}: workers={workers!r}: takes {', '.join(map(repr, MODES))}")
        if workers == "each" and "worker" in self.labels:
            raise MetricError(
                f"gauge {name!r}: the label 'worker' is the one that tells workers apart; take another name, or "
                'workers="sum", "max" or "min"'
            )
        self.workers = workers

    def same(self, other: Instrument[float]) -> bool:
        return super().same(other) and isinstance(other, Gauge) and self.workers == other.workers

    def set(self, value: float, labels: Mapping[str, object]) -> None:
        """Takes a new value."""
        number = _number(self, value)
        key = self._key(labels)
        with self._lock:
            self._values[key] = number


class Histogram(Instrument[Observed]):
    """How often values fell into which bucket."""

    kind = "histogram"
    reserved = frozenset({"le"})
    suffixes = ("", "_bucket", "_count", "_sum", "_created")

    def __init__(self, name: str, help: str, labels: Iterable[str], buckets: tuple[float, ...]) -> None:
        self.buckets = buckets
        super().__init__(name, help, labels)

    def same(self, other: Instrument[Observed]) -> bool:
        return super().same(other) and isinstance(other, Histogram) and self.buckets == other.buckets

    def observe(self, value: float, labels: Mapping[str, object]) -> None:
        """Counts a value."""
        number = _number(self, value)
        if number != number:
            raise MetricError(f"histogram {self.name!r}: cannot observe {value!r}, which is in no bucket")
        key = self._key(labels)
        bucket = bisect_left(self.buckets, number)
        with self._lock:
            counts, total = self._values[key]
            counts[bucket] += 1
            self._values[key] = (counts, total + number)

    def values(self) -> dict[Key, Observed]:
        with self._lock:
            return {key: (counts.copy(), total) for key, (counts, total) in self._values.items()}

    def _zero(self) -> Observed:
        return [0] * (len(self.buckets) + 1), 0.0


def _picker(labels: tuple[str, ...]) -> Callable[[Mapping[str, object]], Any]:
    if len(labels) > 1:
        return itemgetter(*labels)
    if not labels:
        return lambda _: ()
    label = labels[0]  # of one name, itemgetter gives no tuple
    return lambda given: (given[label],)


def _number(instrument: Instrument[Any], value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise MetricError(f"{instrument.kind} {instrument.name!r}: takes a number, not {value!r}") from None
