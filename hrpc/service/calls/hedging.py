"""Calls that are made again at another instance when the first one takes long."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc
import grpc.aio

from hrpc.errors import BreakerOpen
from hrpc.option import HedgingSettings
from hrpc.rpc.breaker import FAILURES
from hrpc.service.calls.attempt import Attempt, Outcome
from hrpc.service.calls.budget import Budget
from hrpc.service.calls.kinds import UnaryUnary
from hrpc.service.calls.retries import pushback_of

_NO_ANSWERS = FAILURES | {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED}
"""The codes after which another instance may still do better. All others are the service's answer."""


class Hedged(UnaryUnary):
    """A call of a method that may run more than once."""

    def __init__(self, *arguments: Any, hedging: HedgingSettings, budget: Budget) -> None:
        super().__init__(*arguments)
        self._hedging = hedging
        self._budget = budget
        self._running: list[Attempt] = []

    @classmethod
    def by(cls, hedging: HedgingSettings, budget: Budget) -> partial[Hedged]:
        """What makes such calls."""
        return partial(cls, hedging=hedging, budget=budget)

    def start(self, timeout: float | None) -> None:
        """Begins the first attempt, and arranges for the second."""
        super().start(timeout)
        self._race()

    def _go_on(self) -> None:
        super()._go_on()
        self._race()

    def _race(self) -> None:
        if self._attempt is not None and self._pending is None and not self.done():
            # Until one has won, whoever waits for the call waits for all of them.
            self._pending = asyncio.get_running_loop().create_future()
            self._began(self._attempt)

    def ended(self, attempt: Attempt, outcome: Outcome | None) -> bool:
        """The first good answer counts; failures only when no attempt is left that could do better."""
        if attempt in self._running:
            self._running.remove(attempt)
        if self._cancelled or self._pending is None:
            return False
        if outcome is not None and outcome.code in _NO_ANSWERS and self._goes_on(attempt, outcome):
            return True
        self._attempt = attempt
        self._explain(outcome)
        losers, self._running = self._running, []
        self._finish()
        for loser in losers:
            loser.real.cancel()
        return False

    def cancel(self) -> bool:
        """Ends all attempts; False when it has ended already."""
        is_new = super().cancel()
        running, self._running = self._running, []
        for attempt in running:
            attempt.real.cancel()
        return is_new

    def _goes_on(self, failed: Attempt, outcome: Outcome) -> bool:
        """Whether another attempt runs, or will."""
        if self._running or (pushback_of(failed) is None and self._hedge(outcome)):
            return True
        self._disarm()
        self._attempt = failed
        return not outcome.cancelled_here and self._again(failed, outcome)

    def _began(self, attempt: Attempt) -> None:
        self._running.append(attempt)
        if len(self._tried) < self._hedging.attempts:
            self._timer = asyncio.get_running_loop().call_later(self._hedging.delay, self._hedge)

    def _hedge(self, after: Outcome | None = None) -> bool:
        """Begins a further attempt, unless nothing is gained or allowed by it; `after` a failure, or because it takes
        long."""
        method = self._method
        self._disarm()
        left = self.time_remaining()
        if len(self._tried) >= self._hedging.attempts or (left is not None and left <= 0):
            return False
        endpoint = method.balancer.pick(self._key, self._tried)
        if endpoint is None or endpoint in self._tried:
            return False
        if not (after is not None and after.did_not_run) and not self._budget.take(method.counts.calls):
            return False
        try:
            attempt = Attempt(self, method, endpoint, left)
        except (BreakerOpen, grpc.aio.UsageError):
            return False
        if after is None:
            method.counts.hedges += 1
        else:
            method.counts.retries += 1
        self._tried = (*self._tried, endpoint)
        self._began(attempt)
        return True
