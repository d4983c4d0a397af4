"""Counting calls: plain numbers that a call increments, read when they are scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from time import perf_counter

import grpc

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds: the default of Prometheus' client libraries."""

METHODS_AT_MOST = 1000
"""Methods that are counted by name; the rest, which only a generic handler can have, counts as ``other``."""


class MethodCalls:
    """The calls of one method. Not safe for threads: they are counted either on the loop or under a lock."""

    __slots__ = ("buckets", "handled", "in_flight", "kind", "method", "seconds", "service", "started")

    def __init__(self, service: str, method: str, kind: str) -> None:
        self.service = service
        self.method = method
        self.kind = kind
        self.started = 0
        self.in_flight = 0
        self.handled: dict[grpc.StatusCode, int] = {}
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def begin(self) -> float:
        """Counts a call that starts; gives the time to hand to `end`."""
        self.started += 1
        self.in_flight += 1
        return perf_counter()

    def end(self, began: float, code: grpc.StatusCode) -> None:
        """Counts the end of a call."""
        took = perf_counter() - began
        self.in_flight -= 1
        self.handled[code] = self.handled.get(code, 0) + 1
        self.buckets[bisect_left(BUCKETS, took)] += 1
        self.seconds += took


class Calls:
    """The calls of all methods of a server."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodCalls] = {}

    def method(self, path: str, request_streaming: bool, response_streaming: bool) -> MethodCalls:
        """The counts of ``/package.Service/Method``."""
        calls = self._methods.get(path)
        if calls is None:
            if len(self._methods) >= METHODS_AT_MOST:
                path = "/other/other"
            service, _, method = path.removeprefix("/").rpartition("/")
            kind = {
                (False, False): "unary",
                (True, False): "client_stream",
                (False, True): "server_stream",
                (True, True): "bidi_stream",
            }[request_streaming, response_streaming]
            calls = self._methods.setdefault(path, MethodCalls(service, method, kind))
        return calls

    @property
    def in_flight(self) -> int:
        """Calls that run now."""
        return sum(calls.in_flight for calls in self._methods.values())

    def __iter__(self) -> Iterator[MethodCalls]:
        return iter(list(self._methods.values()))


def code_label(code: grpc.StatusCode) -> str:
    """The value of ``grpc_code``, spelt as gRPC's Go library does: NotFound, Canceled, OK."""
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.capitalize() for part in code.name.split("_"))
