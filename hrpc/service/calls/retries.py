"""Whether, and when, a call is made once more."""

from __future__ import annotations

import random
import time
from typing import Any

import grpc

from hrpc.option import RetrySettings
from hrpc.option.retry import covers
from hrpc.rpc.outgoing import finished
from hrpc.rpc.upstream_error import STATUS_DETAILS
from hrpc.service.calls.attempt import Attempt, Outcome
from hrpc.service.calls.budget import Budget
from hrpc.service.calls.counts import Counts
from hrpc.status import RETRY_PUSHBACK

FIRST_PAUSE, LONGEST_PAUSE = 0.025, 1.0
"""Seconds between two attempts at the same instances: doubling, half of it more or less at random."""

LONGEST_PUSHBACK = 5.0
"""Seconds: a server that wants to be left alone for longer is not asked again by the same call."""

_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures."""
    doubled: float = FIRST_PAUSE * 2.0 ** min(failures - 1, 10)
    return min(LONGEST_PAUSE, doubled) * random.uniform(0.5, 1.5)


class Retries:
    """Those of one method of one service."""

    def __init__(self, settings: RetrySettings, path: str, budget: Budget, counts: Counts) -> None:
        self.attempts = settings.attempts
        self.idempotent = covers(settings.idempotent, path)
        self._budget = budget
        self._counts = counts

    def pause(
        self, outcome: Outcome, attempt: Attempt, made: int, *, others: bool, patient: bool, deadline: float | None
    ) -> float | None:
        """Seconds until the next attempt of a call that was made so many times; None when there will be none.

        `others`: there are instances that were not tried yet; `patient`: the caller waits for one that is ready, until
        the `deadline`.
        """
        if outcome.did_not_run:
            if made >= self.attempts and not patient:
                return None
            # A worker that stops takes up to a tenth of a second to close its connections; then another one is found.
            found = 0.0 if others and self.attempts > 1 else pause_after(made + 2 if outcome.refused else made)
        elif made < self.attempts and self.idempotent:
            asked = self._asked_for(outcome, attempt)
            if asked is None:
                return None
            found = max(asked, pause_after(made))
        else:
            return None
        if deadline is not None and time.monotonic() + found >= deadline:
            return None
        return found if outcome.did_not_run or self._budget.take(self._counts.calls) else None

    def _asked_for(self, outcome: Outcome, attempt: Attempt) -> float | None:
        """Seconds for which the server wants to be left alone; None when the failure is none to try again."""
        if outcome.code is grpc.StatusCode.CANCELLED and outcome.details == "CANCELLED":
            return 0.0  # by a server that stops
        if outcome.code not in _AGAIN:
            return None
        asked = pushback_of(attempt)
        if asked is None:
            return 0.0 if outcome.code is grpc.StatusCode.UNAVAILABLE else None
        return asked if 0 <= asked <= LONGEST_PUSHBACK else None


def pushback(trailing_metadata: Any) -> float | None:
    """Seconds after which a server wants to be asked again; negative for never, None when it does not say.

    As https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback has it, or else google.rpc.RetryInfo.
    """
    details: object = None
    for key, value in trailing_metadata or ():
        if key == RETRY_PUSHBACK:
            try:
                return int(value) / 1000
            except ValueError:
                return -1.0  # "unparsable": not at all
        if key == STATUS_DETAILS:
            details = value
    if not isinstance(details, bytes):
        return None
    from hrpc.rpc.error_details import retry_after  # protobuf, which `import hrpc` does without

    return retry_after(details)


def pushback_of(attempt: Attempt) -> float | None:
    """The same, of an attempt that has ended."""
    return pushback(finished(attempt.real.trailing_metadata()))
