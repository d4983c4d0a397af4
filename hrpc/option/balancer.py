"""How calls are spread over the instances of other services: the values that `hrpc.option.balancing` makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from hrpc.option.limits import NOTHING


class BalancerSettings(NamedTuple):
    """How the calls of one channel are spread; times are in seconds. See `with_balancer`."""

    picker: Literal["weighted_round_robin", "p2c", "consistent_hash"] = "weighted_round_robin"
    hash_key: str | None = None
    prefer_zone: bool = True
    slow_start: float = 0.0
    eject_after: int = 5
    eject_for: float = 5.0


class Balancers(NamedTuple):
    """The settings for all services, and those of some, by their names in Consul."""

    default: BalancerSettings = BalancerSettings()
    services: Mapping[str, BalancerSettings] = NOTHING

    def of(self, service: str) -> BalancerSettings:
        """The settings for one service."""
        return self.services.get(service, self.default)
