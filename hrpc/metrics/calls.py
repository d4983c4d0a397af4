"""Counting calls: plain numbers that a call increments, read when they are scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

import grpc

from hrpc.option.settings import DEFAULT_BUCKETS

METHODS_AT_MOST = 1000
"""Methods that are counted by name; the rest, which only a generic handler can have, counts as ``other``."""


TRACE_ID_AT_MOST = 120
"""Characters of a trace id in an exemplar: its labels take 128 together, ``trace_id`` is 8 of them.
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md#exemplars"""

Example = tuple[str, float, float]
"""A call that a bucket counted: its trace id, how many seconds it took, and when it ended (`time.monotonic`)."""

_OK = grpc.StatusCode.OK
_KINDS = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


class Counts(NamedTuple):
    """The calls of one method as plain values; `handled` by the name of the code, `examples` where they are wanted."""

    started: int
    in_flight: int
    received: int
    sent: int
    handled: Mapping[str, int]
    seconds: float
    buckets: Sequence[int]
    examples: Sequence[Example | None]


class MethodCalls:
    """The calls of one method. Not safe for threads: all are counted in the event loop.

    The messages of streams are counted by whoever sees them, in `received` and `sent`. Where a call has one message,
    that one is not counted here: it was received with every call that started, and sent with every one that ended OK.
    """

    __slots__ = (
        *("_bounds", "_longest_id", "_ok", "_others", "buckets", "in_flight", "kind", "method"),
        *(
            "examples",
            "path",
            "received",
            "request_streaming",
            "response_streaming",
            "running",
            "seconds",
            "sent",
            "service",
            "started",
        ),
    )

    def __init__(
        self, path: str, request_streaming: bool, response_streaming: bool, bounds: tuple[float, ...], examples: bool
    ) -> None:
        self.path = path
        self.service, _, self.method = path.removeprefix("/").rpartition("/")
        self.kind = _KINDS[request_streaming, response_streaming]
        self.request_streaming = request_streaming
        self.response_streaming = response_streaming
        self.started = 0
        self.in_flight = 0
        self.running: dict[Any, float] = {}
        """The calls that are in a handler's hands, by whatever stands for them there, and when each began."""
        self.received = 0
        self.sent = 0
        self.buckets = [0] * (len(bounds) + 1)
        self.examples: list[Example | None] = [None] * len(self.buckets)
        self.seconds = 0.0
        self._bounds = bounds
        self._longest_id = TRACE_ID_AT_MOST if examples else 0
        # Apart from the others, because the hash of an enum's member is a function of Python: 0.1 µs each time.
        self._ok = 0
        self._others: dict[grpc.StatusCode, int] = {}

    @property
    def handled(self) -> dict[grpc.StatusCode, int]:
        """How many calls ended with each code."""
        return {_OK: self._ok, **self._others} if self._ok else dict(self._others)

    @property
    def messages_received(self) -> int:
        """The messages of callers."""
        return self.received if self.request_streaming else self.started

    @property
    def messages_sent(self) -> int:
        """The messages to callers."""
        return self.sent if self.response_streaming else self._ok

    def counts(self, examples: bool) -> Counts:
        """All of them, now; of a method that was never called, without its empty buckets."""
        handled = {code.name: count for code, count in self.handled.items()}
        buckets = self.buckets.copy() if any(self.buckets) else ()
        shown = self.examples.copy() if examples and buckets else ()
        return Counts(self.started, self.in_flight, self.received, self.sent, handled, self.seconds, buckets, shown)

    def add(self, counts: Counts) -> None:
        """Adds what was counted elsewhere, with the same bounds; of two examples the newer one stays."""
        self.started += counts.started
        self.in_flight += counts.in_flight
        self.received += counts.received
        self.sent += counts.sent
        self.seconds += counts.seconds
        for name, count in counts.handled.items():
            if name == _OK.name:
                self._ok += count
            else:
                code = grpc.StatusCode[name]
                self._others[code] = self._others.get(code, 0) + count
        for number, count in enumerate(counts.buckets):
            self.buckets[number] += count
        for number, example in enumerate(counts.examples):
            before = self.examples[number]
            if example is not None and (before is None or before[2] < example[2]):
                self.examples[number] = (example[0], example[1], example[2])

    def begin(self) -> float:
        """Counts a call that starts; gives the time, in seconds of `time.monotonic`, to hand to `end`."""
        self.started += 1
        self.in_flight += 1
        return monotonic()

    def end(self, began: float, code: grpc.StatusCode, trace_id: str = "") -> float:
        """Counts the end of a call, as an example of its bucket when it has a trace id; gives the seconds it took."""
        now = monotonic()
        took = now - began
        self.in_flight -= 1
        if code is _OK:
            self._ok += 1
        else:
            self._others[code] = self._others.get(code, 0) + 1
        bucket = bisect_left(self._bounds, took)
        self.buckets[bucket] += 1
        self.seconds += took
        if 0 < len(trace_id) <= self._longest_id:
            self.examples[bucket] = (trace_id, took, now)
        return took


class Calls:
    """The calls of all methods of a server.

    `buckets` are the upper bounds, in seconds, of the histogram of times; `examples` keeps an example for each of them.
    """

    def __init__(self, buckets: Sequence[float] = DEFAULT_BUCKETS, *, examples: bool = True) -> None:
        self.buckets = tuple(buckets)
        self._examples = examples
        self._methods: dict[str, MethodCalls] = {}

    def method(self, path: str, request_streaming: bool, response_streaming: bool) -> MethodCalls:
        """The counts of ``/package.Service/Method``."""
        key = path
        if path not in self._methods and len(self._methods) >= METHODS_AT_MOST:
            path = "/other/other"
            key = f"{path} {_KINDS[request_streaming, response_streaming]}"
        calls = self._methods.get(key)
        if calls is None:
            calls = MethodCalls(path, request_streaming, response_streaming, self.buckets, self._examples)
            self._methods[key] = calls
        return calls

    def copy(self) -> Calls:
        """The same counts, apart from these."""
        copied = Calls(self.buckets, examples=self._examples)
        for key, calls in self._methods.items():
            there = MethodCalls(calls.path, calls.request_streaming, calls.response_streaming, self.buckets, True)
            there.add(calls.counts(True))
            copied._methods[key] = there
        return copied

    def take_over(self, other: Calls) -> None:
        """Has the counts of `other`, and its own no more."""
        self._methods = other._methods

    @property
    def in_flight(self) -> int:
        """Calls that run now."""
        return sum(calls.in_flight for calls in self._methods.values())

    def __iter__(self) -> Iterator[MethodCalls]:
        return iter(list(self._methods.values()))
