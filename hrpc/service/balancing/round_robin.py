"""Weighted round robin: each endpoint in its turn, as often as its weight says."""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush, heapreplace

from hrpc.service.balancing.endpoint import Endpoint


class WeightedRoundRobin:
    """The one whose turn is due first, and again after 1 / its share: turns of all are spread evenly.

    A heap and not a table of turns, which for weights up to 65535 (Consul's) would be too long to make after each
    change. In as many picks as the sum of the weights each endpoint is picked as often as its weight, in any order.
    """

    is_timed = False

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        # When it is due, a number that decides between those due at once, the endpoint, the time between its turns.
        self._turns: list[tuple[float, int, Endpoint, float]] = []
        self._now = 0.0

    def replace(self, endpoints: Collection[Endpoint]) -> None:
        """Those that stay keep their turn. A new one comes somewhere in its first round: callers that learn of it at
        the same time do not all call it first."""
        before = {endpoint: due - self._now for due, _, endpoint, _ in self._turns}
        self._now = 0.0
        self._turns = []
        for number, endpoint in enumerate(endpoints):
            if endpoint.share > 0:
                pause = 1 / endpoint.share
                kept = before.get(endpoint)
                due = self._random() * pause if kept is None else min(kept, pause)
                self._turns.append((due, number, endpoint, pause))
        heapify(self._turns)

    def next(self, _: str | None) -> Endpoint:
        due, number, endpoint, pause = self._turns[0]
        self._now = due
        heapreplace(self._turns, (due + pause, number, endpoint, pause))
        return endpoint

    def first(self, _: str | None, fits: Callable[[Endpoint], bool]) -> Endpoint | None:
        """Those that do not fit keep their turn, for the next call."""
        passed = []
        found = None
        while self._turns and found is None:
            turn = heappop(self._turns)
            if fits(turn[2]):
                due, number, found, pause = turn
                turn = (due + pause, number, found, pause)
            passed.append(turn)
        for turn in passed:
            heappush(self._turns, turn)
        return found

    def measured(self, endpoint: Endpoint, seconds: float, failed: bool) -> None:
        """Is not told."""
