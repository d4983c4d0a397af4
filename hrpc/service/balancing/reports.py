"""What a balancer says of its endpoints."""

from __future__ import annotations

from typing import Literal, NamedTuple

from hrpc.option import BalancerSettings
from hrpc.service.balancing.endpoint import NEVER, Endpoint

State = Literal["in", "slow start", "ejected", "not connected", "other zone", "reserve"]


class EndpointReport(NamedTuple):
    """One endpoint at one moment; times are in seconds."""

    endpoint: str
    weight: int
    zone: str
    state: State
    why: str
    picks: int
    in_flight: int
    failures: int
    """How many of its last calls have failed in a row."""
    latency: float
    """How long its calls take; 0 when that is not measured."""


def report(endpoint: Endpoint, now: float, settings: BalancerSettings, zone: str) -> EndpointReport:
    """What is given to `endpoint` `now`, and why."""
    state, why = _state(endpoint, now, settings, zone)
    return EndpointReport(
        endpoint.instance.endpoint,
        endpoint.weight,
        endpoint.zone,
        state,
        why,
        endpoint.picks,
        endpoint.in_flight,
        endpoint.failures,
        endpoint.latency,
    )


def _state(endpoint: Endpoint, now: float, settings: BalancerSettings, zone: str) -> tuple[State, str]:
    used = "; is called all the same, since no other can be" if endpoint.share else ""
    if not endpoint.is_connected:
        return "not connected", f"its connection fails{used}"
    if endpoint.ejected_until:
        return "ejected", f"{_ejected(endpoint, now)}{used}"
    if not endpoint.share:
        if not endpoint.weight:
            return "reserve", "its weight is 0, and others are there"
        return "other zone", f"zone {zone!r} has enough"
    if now - endpoint.started_at < settings.slow_start:
        return "slow start", f"for {now - endpoint.started_at:.1f} of {settings.slow_start:g} s"
    if zone and endpoint.zone != zone:
        return "in", f"zone {zone!r} has too few"
    return "in", ""


def _ejected(endpoint: Endpoint, now: float) -> str:
    code = "" if endpoint.last_failure is None else f", the last one with {endpoint.last_failure.name}"
    failed = f"{endpoint.failures} calls in a row have failed{code}"
    if endpoint.probed_at != NEVER:
        return f"{failed}; one call tries it"
    if endpoint.ejected_until > now:
        return f"{failed}; one call tries it in {endpoint.ejected_until - now:.1f} s"
    return f"{failed}; the next call tries it"
