"""Calls stay in the caller's zone as long as it has enough endpoints."""

from __future__ import annotations

from collections.abc import Collection

from hrpc.service.balancing.endpoint import Endpoint

OVERLOAD = 1.4
"""How many times the average load of all endpoints those of one zone may get before calls leave it. It is Envoy's
overprovisioning factor (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/overprovisioning)."""


def staying(endpoints: Collection[Endpoint], zone: str) -> float:
    """The part of the calls, from 0 to 1, that stays in `zone`; the shares of the endpoints are their weights.

    It is assumed that each zone that has endpoints makes as many calls as any other. All stay while the zone has its
    average weight, less what `OVERLOAD` allows; below that, as many as it can take, the others leave.
    """
    weights: dict[str, float] = {}
    for endpoint in endpoints:
        weights[endpoint.zone] = weights.get(endpoint.zone, 0.0) + endpoint.share
    average = sum(weights.values()) / len(weights)
    return min(1.0, weights.get(zone, 0.0) * OVERLOAD / average)


def prefer(endpoints: Collection[Endpoint], zone: str) -> None:
    """Lessens the shares of endpoints in other zones, so that only the calls that cannot stay reach them."""
    part = staying(endpoints, zone)
    if part > 0:
        own = sum(endpoint.share for endpoint in endpoints if endpoint.zone == zone)
        others = sum(endpoint.share for endpoint in endpoints if endpoint.zone != zone)
        factor = own * (1 - part) / (part * others) if others else 0.0
        for endpoint in endpoints:
            if endpoint.zone != zone:
                endpoint.share *= factor
