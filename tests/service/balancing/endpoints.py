"""Endpoints for tests of balancers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import grpc

from hrpc.abc import Instance
from hrpc.option import BalancerSettings
from hrpc.service.balancing import Balancer, Endpoint, EndpointReport
from tests.clock import Clock

OK, UNAVAILABLE, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED


class Fleet:
    """A balancer with what surrounds it: its clock, its dice and the endpoints whose connection fails."""

    def __init__(self, weights: Mapping[str, int], zone: str = "", seed: int = 1, **settings: Any) -> None:
        """`weights` by name; a name such as "a/1" is in zone "a"."""
        self.clock = Clock()
        self.down: set[str] = set()
        self.balancer = Balancer(
            BalancerSettings(**settings),
            zone,
            clock=self.clock,
            random=random.Random(seed).random,
            usable=lambda endpoint: endpoint.key not in self.down,
        )
        self.replace(weights)

    def replace(self, weights: Mapping[str, int]) -> list[str]:
        """The registry has these now; gives the names of those that are no longer in."""
        found = [(name, instance(name, weight), object) for name, weight in weights.items()]
        return [name_of(gone) for gone in self.balancer.replace(found)]

    def pick(self, key: str | None = None, without: Collection[str] = ()) -> str:
        return name_of(self.endpoint(key, without))

    def endpoint(self, key: str | None = None, without: Collection[str] = ()) -> Endpoint:
        picked = self.balancer.pick(key, [self[name] for name in without])
        assert picked is not None
        return picked

    def picks(self, times: int) -> Counter[str]:
        """How often each is picked."""
        return Counter(self.pick() for _ in range(times))

    def call(self, name: str, code: grpc.StatusCode = OK, seconds: float = 0.0, times: int = 1) -> None:
        """Calls of this endpoint that end."""
        for _ in range(times):
            self.balancer.began(self[name])
            self.balancer.ended(self[name], code, seconds)

    def rows(self) -> dict[str, EndpointReport]:
        names = [name_of(endpoint) for endpoint in self.balancer.endpoints]
        return dict(zip(names, self.balancer.rows(), strict=True))

    def __getitem__(self, name: str) -> Endpoint:
        return next(endpoint for endpoint in self.balancer.endpoints if endpoint.key == name)


def instance(name: str, weight: int) -> Instance:
    zone = name.partition("/")[0] if "/" in name else ""
    return Instance(name, "fleet", name, 80, weight, meta={"zone": zone} if zone else {})


def name_of(endpoint: Endpoint) -> str:
    return str(endpoint.key)
