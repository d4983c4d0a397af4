"""Of two endpoints that are drawn, the one with less to do ("power of two choices")."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection
from itertools import accumulate
from math import exp

from hrpc.service.balancing.endpoint import Endpoint

DECAY = 10.0
"""Seconds in which what was measured loses two thirds of its say. It is Finagle's, as is the measure: a latency that
rises at once and falls slowly (https://twitter.github.io/finagle/guide/Clients.html, "Peak EWMA")."""

LEAST = 1e-6
"""Seconds that a call takes at least: of an endpoint that takes no time, no number of calls would be too many."""

NOISE = 1.1
"""How many times the other's load still counts as equal: the first one drawn is taken. Else what was slow once, and is
as good as forgotten, would never be called again while nothing runs."""

_SAY_OF_ONE = 0.02
_DRAWS = 8


class LeastLoaded:
    """Draws two, as often as their weights say, and takes the one with the lower product of latency and calls.

    An endpoint that was not measured for long is thought to be as quick as all are on average: a slow one gets another
    chance, and a new one its part of the calls and not all of them.
    """

    is_timed = True

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self._endpoints: list[Endpoint] = []
        self._sums: list[float] | None = None
        self._average_share = 1.0
        self._usual = 0.0

    def replace(self, endpoints: Collection[Endpoint]) -> None:
        self._endpoints = [endpoint for endpoint in endpoints if endpoint.share > 0]
        shares = [endpoint.share for endpoint in self._endpoints]
        self._sums = list(accumulate(shares)) if len(set(shares)) > 1 else None
        self._average_share = sum(shares) / len(shares) if shares else 1.0

    def next(self, _: str | None) -> Endpoint:
        endpoints, random = self._endpoints, self._random
        many = len(endpoints)
        if self._sums is None:
            one = endpoints[int(random() * many)]
            other = endpoints[int(random() * many)]
        else:
            whole = self._sums[-1]
            one = endpoints[bisect(self._sums, random() * whole, 0, many - 1)]
            other = endpoints[bisect(self._sums, random() * whole, 0, many - 1)]
        if one is other:
            return one
        now = self._clock()
        return one if self._load(one, now) <= self._load(other, now) * NOISE else other

    def first(self, key: str | None, fits: Callable[[Endpoint], bool]) -> Endpoint | None:
        for _ in range(_DRAWS if self._endpoints else 0):
            drawn = self.next(key)
            if fits(drawn):
                return drawn
        now = self._clock()
        fitting = [endpoint for endpoint in self._endpoints if fits(endpoint)]
        return min(fitting, key=lambda endpoint: self._load(endpoint, now), default=None)

    def measured(self, endpoint: Endpoint, seconds: float, failed: bool) -> None:
        """A failure never makes an endpoint look quicker: else one that fails at once would get all calls."""
        now = self._clock()
        known = self._latency(endpoint, now)
        seconds = max(seconds, LEAST)
        if failed:
            seconds = max(seconds, known, self._usual)
        if seconds >= known:
            endpoint.latency = seconds
        else:
            kept = exp((endpoint.measured_at - now) / DECAY)
            endpoint.latency = endpoint.latency * kept + seconds * (1 - kept)
        endpoint.measured_at = now
        self._usual += (seconds - self._usual) * (_SAY_OF_ONE if self._usual else 1.0)

    def _load(self, endpoint: Endpoint, now: float) -> float:
        # Only the calls are weighed against the share: when none runs, it has had its say in the draw.
        calls = 1 + endpoint.in_flight * self._average_share / endpoint.share
        return calls * self._latency(endpoint, now)

    def _latency(self, endpoint: Endpoint, now: float) -> float:
        usual = self._usual or LEAST
        return usual + (endpoint.latency - usual) * exp((endpoint.measured_at - now) / DECAY)
