"""Decides which endpoints of a service may be called, and takes one of them for each call."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable
from random import random as dice
from typing import Any

import grpc

from hrpc.abc import Instance
from hrpc.option import BalancerSettings
from hrpc.rpc.breaker import FAILURES
from hrpc.service.balancing import zones
from hrpc.service.balancing.consistent_hash import ConsistentHash
from hrpc.service.balancing.ejection import Ejection
from hrpc.service.balancing.endpoint import NEVER, Endpoint
from hrpc.service.balancing.least_loaded import LeastLoaded
from hrpc.service.balancing.picker import Picker
from hrpc.service.balancing.reports import EndpointReport, report
from hrpc.service.balancing.round_robin import WeightedRoundRobin

LOOK_AGAIN = 0.05
"""Seconds between two looks at all endpoints: to see which are connected, while some are not."""

STEPS = 20
"""In how many steps the weight of an endpoint grows in its slow start."""

_OK, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
_NOT_DUE = float("inf")


def _always(_: Endpoint) -> bool:
    return True


class Balancer:
    """The endpoints of one channel. Not safe for threads: calls begin and end on the event loop.

    Of the endpoints, those get calls that are connected and not ejected; of these, those of the own zone while it has
    enough (not with "consistent_hash": the same key shall find the same endpoint from every zone); of these, those of
    weight 0 only when there are no others. When none is left, those that are ejected are called, and at last all.
    """

    def __init__(
        self,
        settings: BalancerSettings,
        zone: str = "",
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = dice,
        usable: Callable[[Endpoint], bool] = _always,
    ) -> None:
        """`zone` is the caller's; `usable` tells whether the connection of an endpoint is not known to fail."""
        self.settings = settings
        self._zone = zone if settings.prefer_zone and settings.picker != "consistent_hash" else ""
        self._clock = clock
        self._usable = usable
        self._endpoints: dict[Hashable, Endpoint] = {}
        self._ejection = Ejection(settings, clock, random)
        self._picker = _picker(settings, clock, random)
        self._to_try: list[Endpoint] = []
        self._looked_at = NEVER
        self._due = _NOT_DUE
        self._is_panic = False
        self.is_timed = self._picker.is_timed
        """Whether `ended` has to be told how long a call took; otherwise 0 will do."""

    @property
    def endpoints(self) -> Collection[Endpoint]:
        """All that are known."""
        return self._endpoints.values()

    def replace(self, found: Iterable[tuple[Hashable, Instance, Callable[[], Any]]]) -> list[Endpoint]:
        """From now on, calls go to `found`: a key, the instance, and what makes the connection if the key is new.

        An endpoint that stays, by its key, keeps its turn and what is known of it. Gives those that are no longer in;
        they are not picked again. Of several with the same key, the first one counts.
        """
        before, self._endpoints = self._endpoints, {}
        started_at = self._clock() if before and self.settings.slow_start else NEVER
        for key, instance, connect in found:
            if key in self._endpoints:
                continue
            endpoint = before.pop(key, None)
            if endpoint is None:
                endpoint = Endpoint(key, instance, connect())
                endpoint.started_at = started_at
            else:
                endpoint.describe(instance)
            self._endpoints[key] = endpoint
        gone = list(before.values())
        for endpoint in gone:
            endpoint.share = 0.0
            self._ejection.forget(endpoint)
        self._look()
        return gone

    def pick(self, key: str | None = None, without: Collection[Endpoint] = ()) -> Endpoint | None:
        """The endpoint for a call; None when none is known at all.

        `key` is what "consistent_hash" goes by. Those in `without` have been tried for this call: they are picked only
        when all others are away.
        """
        if not self._endpoints:
            return None
        if self._due != _NOT_DUE and self._clock() >= self._due:
            self._look()
        if self._to_try:
            probe = self._probe(without)
            if probe is not None:
                return probe
        endpoint = self._picker.next(key)
        if without or not self._usable(endpoint) or (endpoint.ejected_until and not self._is_panicking()):
            endpoint = self._other(key, endpoint, without)
        endpoint.picks += 1
        return endpoint

    def began(self, endpoint: Endpoint) -> None:
        """A call of the endpoint begins. `ended` has to follow."""
        endpoint.in_flight += 1

    def ended(self, endpoint: Endpoint, code: grpc.StatusCode, seconds: float = 0.0) -> None:
        """A call of the endpoint has ended; it took so long."""
        endpoint.in_flight -= 1
        is_failure = False
        if code is _OK:
            if endpoint.failures or endpoint.ejected_until:
                self._passed(endpoint, seconds)
        elif code in FAILURES:
            is_failure = True
            self._failed(endpoint, code, seconds)
        elif code is _CANCELLED:
            self._cancelled(endpoint)
            return
        else:
            self._passed(endpoint, seconds)
        if self.is_timed:
            self._picker.measured(endpoint, seconds, is_failure)

    def rows(self) -> list[EndpointReport]:
        """What each endpoint is given, and why."""
        if self._endpoints:
            self._look()
        now = self._clock()
        return [report(endpoint, now, self.settings, self._zone) for endpoint in self._endpoints.values()]

    def _is_known(self, endpoint: Endpoint) -> bool:
        return self._endpoints.get(endpoint.key) is endpoint

    def _failed(self, endpoint: Endpoint, code: grpc.StatusCode, seconds: float) -> None:
        if self._is_known(endpoint) and self._ejection.failed(endpoint, code, seconds, len(self._endpoints)):
            self._look_soon()

    def _passed(self, endpoint: Endpoint, seconds: float) -> None:
        if self._is_known(endpoint) and self._ejection.passed(endpoint, seconds):
            if self.settings.slow_start:
                endpoint.started_at = self._clock()
            self._look_soon()

    def _cancelled(self, endpoint: Endpoint) -> None:
        if endpoint.ejected_until and self._is_known(endpoint) and self._ejection.given_up(endpoint):
            self._look_soon()

    def _probe(self, without: Collection[Endpoint]) -> Endpoint | None:
        """One whose ejection is over, for this one call."""
        for endpoint in self._to_try:
            if endpoint not in without and self._usable(endpoint):
                self._to_try.remove(endpoint)
                endpoint.probed_at = self._clock()
                endpoint.picks += 1
                self._look_soon()
                return endpoint
        return None

    def _is_panicking(self) -> bool:
        """Whether those that are ejected have to do; that another one has come back, the last look may not know."""
        return self._is_panic and not any(map(self._is_well, self._endpoints.values()))

    def _is_well(self, endpoint: Endpoint) -> bool:
        return not endpoint.ejected_until and self._usable(endpoint)

    def _other(self, key: str | None, picked: Endpoint, without: Collection[Endpoint]) -> Endpoint:
        """Another one than `picked`, which was tried, is ejected, or has lost its connection since the last look."""

        def fits(endpoint: Endpoint) -> bool:
            return endpoint not in without and self._is_well(endpoint)

        def would_do(endpoint: Endpoint) -> bool:
            return endpoint not in without and self._usable(endpoint)

        if fits(picked):
            return picked
        self._look_soon()
        # After those with a share, any: else the zone or the weights would leave the call without one.
        return (
            self._picker.first(key, fits)
            or self._least_picked(fits)
            or self._least_picked(would_do)
            or self._least_picked(lambda endpoint: endpoint not in without)
            or picked
        )

    def _least_picked(self, fits: Callable[[Endpoint], bool]) -> Endpoint | None:
        fitting = [endpoint for endpoint in self._endpoints.values() if fits(endpoint)]
        return min(fitting, key=lambda endpoint: (endpoint.in_flight, endpoint.picks), default=None)

    def _look_soon(self) -> None:
        """Looks at the endpoints with the next call, unless that was done just now; until then `_other` has to do."""
        self._due = min(self._due, self._looked_at + LOOK_AGAIN)

    def _look(self) -> None:
        """Sees which endpoints get calls, and tells the picker."""
        now = self._looked_at = self._clock()
        endpoints = self._endpoints.values()
        self._ejection.keep_share(len(endpoints))
        for endpoint in endpoints:
            endpoint.is_connected = self._usable(endpoint)
            endpoint.share = 0.0
        chosen = self._chosen()
        heaviest = max((endpoint.weight for endpoint in chosen), default=0)
        for endpoint in chosen:
            endpoint.share = (endpoint.weight if heaviest else 1) * self._grown(endpoint, now)
        if self._zone and chosen:
            zones.prefer(chosen, self._zone)
        self._to_try = self._ejection.to_try(now)
        self._due = self._next_look(now)
        self._picker.replace(endpoints)

    def _chosen(self) -> list[Endpoint]:
        """Those that get calls, as far as it is not a question of zones and weights."""
        connected = [endpoint for endpoint in self._endpoints.values() if endpoint.is_connected]
        chosen = [endpoint for endpoint in connected if not endpoint.ejected_until]
        self._is_panic = not chosen
        return chosen or connected or list(self._endpoints.values())

    def _grown(self, endpoint: Endpoint, now: float) -> float:
        """The part of its weight that an endpoint has in its slow start."""
        age, whole = now - endpoint.started_at, self.settings.slow_start
        return 1.0 if age >= whole else max(1 / STEPS, age / whole)

    def _next_look(self, now: float) -> float:
        due = self._ejection.next_change(now)
        if self._to_try or not all(endpoint.is_connected for endpoint in self._endpoints.values()):
            due = min(due, now + LOOK_AGAIN)
        slow_start = self.settings.slow_start
        if slow_start and any(now - endpoint.started_at < slow_start for endpoint in self._endpoints.values()):
            due = min(due, now + slow_start / STEPS)
        return due


def _picker(settings: BalancerSettings, clock: Callable[[], float], random: Callable[[], float]) -> Picker:
    if settings.picker == "p2c":
        return LeastLoaded(clock, random)
    if settings.picker == "consistent_hash":
        return ConsistentHash(random)
    return WeightedRoundRobin(random)
