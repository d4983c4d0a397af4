"""What guards a server's methods, and a caller from services that fail: the values that `hrpc.option.guards` makes.

Named tuples, as in the modules beside this one: a frozen dataclass takes ten times as long to make, at every import.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

NOTHING: Mapping[str, Any] = MappingProxyType({})

AuthFunction = Callable[[Any], Awaitable[object]]


class Rate(NamedTuple):
    """Calls a second on average, and how many may come at once."""

    per_second: float
    burst: float


class RateLimits(NamedTuple):
    """See `with_rate_limit`. In `methods` None exempts from all of it."""

    server: Rate | None = None
    methods: Mapping[str, Rate | None] = NOTHING


class ConcurrencyLimits(NamedTuple):
    """See `with_concurrency_limit`. `lag` is in seconds; in `methods` None exempts from all of it."""

    server: int | None = None
    methods: Mapping[str, int | None] = NOTHING
    lag: float | None = None


class Auth(NamedTuple):
    """See `with_auth`. In `methods` None exempts."""

    function: AuthFunction
    methods: Mapping[str, AuthFunction | None] = NOTHING


class BreakerSettings(NamedTuple):
    """See `with_circuit_breaker`. `window` and `open_for` are in seconds."""

    failures: float = 0.5
    calls: int = 20
    window: float = 10.0
    open_for: float = 5.0
    probes: int = 3
    per: Literal["service", "method"] = "service"
