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

    def divided(self, among: int) -> Rate:
        """The share of one of several processes; it lets a single call through in any case."""
        return Rate(self.per_second / among, max(1.0, self.burst / among))


class RateLimits(NamedTuple):
    """See `with_rate_limit`. In `methods` None exempts from all of it."""

    server: Rate | None = None
    methods: Mapping[str, Rate | None] = NOTHING

    def divided(self, among: int) -> RateLimits:
        """The share of one of several processes."""
        methods = {name: None if rate is None else rate.divided(among) for name, rate in self.methods.items()}
        return RateLimits(None if self.server is None else self.server.divided(among), methods)


class ConcurrencyLimits(NamedTuple):
    """See `with_concurrency_limit`. `lag` is in seconds; in `methods` None exempts from all of it."""

    server: int | None = None
    methods: Mapping[str, int | None] = NOTHING
    lag: float | None = None

    def divided(self, among: int) -> ConcurrencyLimits:
        """The share of one of several processes, rounded up; each has its own event loop to lag."""
        methods = {name: None if calls is None else -(-calls // among) for name, calls in self.methods.items()}
        return ConcurrencyLimits(None if self.server is None else -(-self.server // among), methods, self.lag)


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
