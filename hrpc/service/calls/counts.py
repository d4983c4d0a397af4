"""What is counted of the calls to one service."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hrpc.metrics.measures import Measures


class Counts:
    """The numbers of one service."""

    __slots__ = ("attempts", "calls", "hedges", "refused", "retries")

    def __init__(self) -> None:
        self.calls = 0
        self.attempts = 0
        """Calls that were handed to gRPC, among them `retries` and `hedges`."""
        self.retries = 0
        self.hedges = 0
        self.refused = 0
        """Calls that ended before any attempt: no instance, or an open circuit breaker."""


def measure(measures: Measures, counts: Callable[[], Mapping[str, Counts]]) -> None:
    """Adds them, by the name of the service, to what is told when metrics are scraped."""
    told = {
        "calls": "Calls to other services.",
        "attempts": "Attempts of calls to other services.",
        "retries": "Attempts because the one before had failed.",
        "hedges": "Attempts because the one before took long.",
        "refused": "Calls that no instance was asked for: none is known, or the circuit breaker is open.",
    }
    for name, text in told.items():
        measures.counter(f"hrpc_client_{name}", text, _reader(counts, name), ("service",))


def _reader(counts: Callable[[], Mapping[str, Counts]], name: str) -> Callable[[], dict[str, float]]:
    return lambda: {service: float(getattr(each, name)) for service, each in counts().items()}
