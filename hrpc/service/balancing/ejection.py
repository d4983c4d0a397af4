"""Endpoints whose calls fail get none for a while, and then one to try."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from hrpc import log
from hrpc.option import BalancerSettings
from hrpc.service.balancing.endpoint import NEVER, Endpoint

EJECTED_AT_MOST = 0.5
"""The part of the endpoints that may be ejected at a time: when more than that fail, it is not the endpoints."""

LONGEST = 300.0
"""Seconds that an ejection grows to, unless it begins with more. It is Envoy's max_ejection_time."""

_JITTER = 0.25


class Ejection:
    """Ejects, and lets back in, the endpoints of one balancer."""

    def __init__(self, settings: BalancerSettings, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._after = settings.eject_after
        self._for = settings.eject_for
        self._clock = clock
        self._random = random
        self.ejected: dict[Endpoint, None] = {}
        """Those that get no calls, in the order of their ejection."""

    def failed(self, endpoint: Endpoint, code: grpc.StatusCode, seconds: float, known: int) -> bool:
        """A call that took so long has failed; tells whether the endpoint, of `known` ones, is ejected for it."""
        now = self._clock()
        if now - seconds < endpoint.in_since:
            return False  # it began before the ejection that is over
        if endpoint.ejected_until and (endpoint.probed_at == NEVER or now - seconds < endpoint.probed_at):
            return False  # it is not the one that tries the endpoint
        endpoint.failures += 1
        endpoint.last_failure = code
        if not endpoint.ejected_until and (
            not 0 < self._after <= endpoint.failures or len(self.ejected) + 1 > known * EJECTED_AT_MOST
        ):
            return False
        self._eject(endpoint, now)
        return True

    def passed(self, endpoint: Endpoint, seconds: float) -> bool:
        """A call that took so long was answered; tells whether that lets the endpoint in again."""
        if not endpoint.ejected_until:
            endpoint.failures = 0
            return False
        if endpoint.probed_at == NEVER or self._clock() - seconds < endpoint.probed_at:
            return False
        self.end(endpoint)
        return True

    def given_up(self, endpoint: Endpoint) -> bool:
        """A call was cancelled; tells whether it was the one that should try an ejected endpoint."""
        was_probe = endpoint.probed_at != NEVER
        endpoint.probed_at = NEVER
        return was_probe

    def end(self, endpoint: Endpoint) -> None:
        """Lets an endpoint in again."""
        self.ejected.pop(endpoint, None)
        endpoint.ejected_until = 0.0
        endpoint.probed_at = NEVER
        endpoint.failures = 0
        endpoint.in_since = self._clock()
        log.info("{}: {} gets calls again", endpoint.instance.name, endpoint.instance.endpoint)

    def forget(self, endpoint: Endpoint) -> None:
        """The endpoint is no longer known."""
        self.ejected.pop(endpoint, None)

    def keep_share(self, known: int) -> None:
        """Lets those in that were ejected first, while too many of the `known` are ejected."""
        while len(self.ejected) > known * EJECTED_AT_MOST:
            self.end(next(iter(self.ejected)))

    def to_try(self, now: float) -> list[Endpoint]:
        """Those whose time is over, and that no call is trying."""
        return [
            endpoint
            for endpoint in self.ejected
            if endpoint.ejected_until <= now and endpoint.probed_at + endpoint.ejected_for <= now
        ]

    def next_change(self, now: float) -> float:
        """When there will be one more to try; infinite when there will not."""
        waits = (max(each.ejected_until, each.probed_at + each.ejected_for) for each in self.ejected)
        return min((at for at in waits if at > now), default=float("inf"))

    def _eject(self, endpoint: Endpoint, now: float) -> None:
        if not endpoint.ejected_until and now - endpoint.in_since > endpoint.ejected_for:
            endpoint.ejections = 0
        wait = min(self._for * 2.0 ** min(endpoint.ejections, 30), max(LONGEST, self._for))
        endpoint.ejections += 1
        endpoint.ejected_for = wait * (1 + _JITTER * self._random())
        endpoint.ejected_until = now + endpoint.ejected_for
        endpoint.probed_at = NEVER
        self.ejected.pop(endpoint, None)
        self.ejected[endpoint] = None
        log.warning(
            "{}: {} gets no calls for {:.1f} s: {} in a row have failed, the last one with {}",
            endpoint.instance.name,
            endpoint.instance.endpoint,
            endpoint.ejected_for,
            endpoint.failures,
            "nothing" if endpoint.last_failure is None else endpoint.last_failure.name,
        )
