"""What a service measures of its own, beside what hrpc measures of it.

::

    from hrpc import metrics

    metrics.register_counter("orders_paid", "Orders that were paid.", labels=("currency",))     # at import

    metrics.incr("orders_paid", currency="EUR")                                                 # in a handler

``with_metrics`` exports it as ``{server}_orders_paid_total``; characters that Prometheus does not take become ``_``.
What is registered while modules are imported belongs to every life of the process, what is registered in a running
server to this life. Values are changed from anywhere, also in threads. Objects of prometheus_client, in its default
registry, are exported as they are.

hrpc's own names are those that go-grpc-prometheus made common (``grpc_server_…``, with its values for ``grpc_type`` and
``grpc_code``), so that dashboards serve for Go and Python services alike; what is hrpc's alone begins with ``hrpc_``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from hrpc import _runtime
from hrpc.errors import MetricError
from hrpc.metrics.instruments import Counter, Gauge, Histogram, Read
from hrpc.metrics.measures import Mode
from hrpc.option.metrics import checked_buckets
from hrpc.option.settings import DEFAULT_BUCKETS

I = TypeVar("I", Counter, Gauge, Histogram)  # noqa: E741

__all__ = ["incr", "observe", "register_counter", "register_gauge", "register_histogram", "set"]


def register_counter(name: str, help: str, labels: Iterable[str] = (), *, read: Read | None = None) -> None:
    """Registers what only grows; see `incr`.

    What is counted somewhere already is read there when it is scraped: `read` is then called in the event loop, and
    gives a number, or with labels a mapping from their values, in a tuple when there are several, to numbers.

    To register the same again changes nothing. Raises `MetricError` when the name is taken by something else, or when
    it or a label is one that Prometheus cannot have.
    """
    _register(Counter(name, help, labels, read))


def register_gauge(
    name: str, help: str, labels: Iterable[str] = (), *, workers: Mode = "each", read: Read | None = None
) -> None:
    """Registers what rises and falls; see `set`, and for `read` and the errors `register_counter`.

    With several workers there are several values, and `workers` says what is told of them: their ``"sum"``, as of
    orders that wait in the memory of each; the ``"max"`` or the ``"min"``, as of what all of them read elsewhere; or
    ``"each"`` with the label ``worker``.
    """
    _register(Gauge(name, help, labels, workers, read))


def register_histogram(
    name: str, help: str, labels: Iterable[str] = (), buckets: Iterable[float] = DEFAULT_BUCKETS
) -> None:
    """Registers what is spread over `buckets`, ascending upper bounds in the unit of the values; see `observe`.

    Raises `MetricError` as `register_counter` does, and `OptionError` for buckets that cannot be.
    """
    _register(Histogram(name, help, labels, checked_buckets("metrics.register_histogram", buckets)))


def incr(name: str, /, by: float = 1, **labels: object) -> None:
    """Lets a counter grow. Raises `MetricError` for an unknown name, for other labels, and when `by` is negative."""
    counter = _runtime.early_metrics.get(name)
    if type(counter) is not Counter:
        counter = _find(Counter, name, "incr")
    counter.add(by, labels)


def set(name: str, value: float, /, **labels: object) -> None:
    """Sets a gauge. Raises `MetricError` for an unknown name, for other labels, and for what is not a number."""
    _find(Gauge, name, "set").set(value, labels)


def observe(name: str, value: float, /, **labels: object) -> None:
    """Counts a value in a histogram. Raises `MetricError` as `set` does."""
    _find(Histogram, name, "observe").observe(value, labels)


def _register(made: Counter | Gauge | Histogram) -> None:
    runtime = _runtime.current()
    own = _runtime.early_metrics if runtime is None else runtime.metrics
    for other in [*_runtime.early_metrics.values(), *own.values()]:
        if other.name == made.name and made.same(other):
            return
        if other.series & made.series:
            raise MetricError(
                f"{made.kind} {made.name!r}: there is a {other.kind} {other.name!r} already, {other.help!r} with the "
                f"labels {other.labels!r}; register it once, or choose another name"
            )
    own[made.name] = made


def _find(kind: type[I], name: str, verb: str) -> I:
    found: Any = _runtime.early_metrics.get(name)
    if found is None:
        runtime = _runtime.current()
        found = None if runtime is None else runtime.metrics.get(name)
    if type(found) is kind:
        return found
    if found is None:
        raise MetricError(
            f"metrics.{verb}({name!r}): no such {kind.kind} is registered here; call metrics.register_{kind.kind} "
            "before, outside of functions for it to be known everywhere"
        )
    raise MetricError(f"metrics.{verb}({name!r}): takes a {kind.kind}, and this is a {found.kind}")
