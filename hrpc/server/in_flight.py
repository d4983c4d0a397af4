"""The calls that run now, by method: what a stop waits for."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import NamedTuple

from hrpc.metrics.calls import MethodCalls
from hrpc.rpc.call import Call

SHOWN_CALLS = 3
"""Calls of a method that are told one by one, the oldest first."""

SHOWN_METHODS = 20
"""Methods that are told; the others are summed up."""

_LONGEST = 100
"""Characters of a name that a client has sent."""


class RunningCall(NamedTuple):
    """One call, and how many seconds it has run."""

    trace_id: str
    caller: str
    """The service that calls; empty when it has not said."""
    peer: str
    """The other end of its connection, as ``ServicerContext.peer`` writes it."""
    seconds: float

    def __str__(self) -> str:
        whose = f"{self.caller} at {self.peer}" if self.caller else self.peer
        return f"{self.seconds:.1f} s, trace {self.trace_id}, from {whose}"


class MethodInFlight(NamedTuple):
    """The calls of one method that run now; `oldest` are a few of them."""

    path: str
    calls: int
    oldest: tuple[RunningCall, ...]

    @property
    def seconds(self) -> float:
        """How long the oldest one has run."""
        return self.oldest[0].seconds

    def __str__(self) -> str:
        return f"{self.path}: {self.calls} in flight; the oldest: {'; '.join(map(str, self.oldest))}"


def in_flight(methods: Iterable[MethodCalls]) -> list[MethodInFlight]:
    """The methods that have calls in flight, the one with the oldest call first. Any thread may ask."""
    now = monotonic()
    found = []
    for method in methods:
        calls = sorted(method.running.copy().items(), key=lambda entry: entry[1])
        if calls:
            oldest = tuple(_shown(call, now - began) for call, began in calls[:SHOWN_CALLS])
            found.append(MethodInFlight(f"{method.service}/{method.method}", len(calls), oldest))
    return sorted(found, key=lambda row: -row.seconds)


def lines(rows: list[MethodInFlight]) -> list[str]:
    """A line for each method, as many as are to be read; the last one tells how many are not shown."""
    shown = [str(row) for row in rows[:SHOWN_METHODS]]
    if rest := rows[SHOWN_METHODS:]:
        shown.append(f"{len(rest)} further methods: {sum(row.calls for row in rest)} in flight")
    return shown


def counted(calls: int) -> str:
    """How many they are, in words."""
    return f"{calls} call{'s' * (calls > 1)} in flight" if calls else "no call in flight"


def _shown(call: Call, seconds: float) -> RunningCall:
    context = call.context
    return RunningCall(context.trace_id[:_LONGEST], context.server_name[:_LONGEST], call.peer(), seconds)
