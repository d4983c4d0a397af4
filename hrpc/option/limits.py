"""What guards a server's methods, and a caller from services that fail: the values that `hrpc.option.guards` makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

AuthFunction = Callable[[Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Rate:
    """Calls a second on average, and how many may come at once."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class RateLimits:
    """See `with_rate_limit`. In `methods` None exempts from all of it."""

    server: Rate | None = None
    methods: Mapping[str, Rate | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConcurrencyLimits:
    """See `with_concurrency_limit`. `lag` is in seconds; in `methods` None exempts from all of it."""

    server: int | None = None
    methods: Mapping[str, int | None] = field(default_factory=dict)
    lag: float | None = None


@dataclass(frozen=True, slots=True)
class Auth:
    """See `with_auth`. In `methods` None exempts."""

    function: AuthFunction
    methods: Mapping[str, AuthFunction | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """See `with_circuit_breaker`. `window` and `open_for` are in seconds."""

    failures: float = 0.5
    calls: int = 20
    window: float = 10.0
    open_for: float = 5.0
    probes: int = 3
    per: Literal["service", "method"] = "service"
