"""The options that guard: who may call, how often, how many at once, and when to stop calling a service that fails.

Where an option takes `methods`, a key is a service, ``package.Service``, or a method, ``package.Service/Method``. One
that the server does not have is an error at the start.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.limits import Auth, AuthFunction, BreakerSettings, ConcurrencyLimits, Rate, RateLimits
from hrpc.option.settings import Option

T = TypeVar("T")
V = TypeVar("V")


def with_rate_limit(
    per_second: float | None = None,
    burst: int | None = None,
    *,
    methods: Mapping[str, float | tuple[float, int] | None] | None = None,
) -> Option:
    """At most `per_second` calls a second on average, and `burst` at once; the others get RESOURCE_EXHAUSTED.

    The answer says after how long to try again (google.rpc.RetryInfo). `burst` is one second's calls when not given.
    `methods` limits services and methods further: to calls a second, or to (calls a second, burst). A call needs a
    place in each limit that covers it: its method's, its service's and the server's. None exempts from all of them.
    The methods of health checks, reflection and channelz are not limited. Each worker counts its own calls.

    ::

        hrpc.with_rate_limit(500, methods={"shop.Orders/Export": 0.5, "shop.Orders/Get": (200, 50)})
    """
    option = "hrpc.with_rate_limit"
    if per_second is None and not methods:
        raise OptionError(f"{option}: give calls a second, or methods={{…}}, or both")
    if per_second is None and burst is not None:
        raise OptionError(f"{option}(burst={burst!r}): belongs to per_second, which is not given")
    server = None if per_second is None else _rate(option, per_second, burst)
    return Option("with_rate_limit", {"rate_limits": RateLimits(server, _methods(option, methods, _method_rate))})


def with_concurrency_limit(
    calls: int | None = None,
    *,
    methods: Mapping[str, int | None] | None = None,
    lag: float | None = None,
) -> Option:
    """At most `calls` calls at once; the others get RESOURCE_EXHAUSTED, with the time after which to try again.

    A stream counts for as long as it is open, a handler without ``async`` also while it waits for a thread. `methods`
    limits services and methods further; a call needs a place in each limit that covers it. None exempts from all.

    `lag`, in seconds, sheds calls while the event loop is late: when what is due, or a new call, has to wait for longer
    than that for a tenth of a second or more, a share of the calls is refused: half of them at twice the limit, nine of
    ten at ten times the limit. It ends within half a second. 0.1 suits most services, and 0.01 is the least.

    The methods of health checks, reflection and channelz are always answered. Each worker counts its own calls.

    ::

        hrpc.with_concurrency_limit(1000, methods={"shop.Orders/Export": 2}, lag=0.1)
    """
    option = "hrpc.with_concurrency_limit"
    if calls is None and lag is None and not methods:
        raise OptionError(f"{option}: give a number of calls, methods={{…}}, lag=…, or several of them")
    limits = ConcurrencyLimits(
        None if calls is None else checks.count(option, "calls", calls, 1),
        _methods(option, methods, lambda place, value: checks.count(option, place, value, 1)),
        None if lag is None else checks.seconds(option, "lag", lag, 0.01),
    )
    return Option("with_concurrency_limit", {"concurrency": limits})


def with_auth(function: AuthFunction, *, methods: Mapping[str, AuthFunction | None] | None = None) -> Option:
    """Asks an async function whether a call may come in, before its handler runs.

    The function is given what the handler gets as its context, with ``invocation_metadata()``, ``peer()``,
    ``auth_context()``, ``abort()``, and with `method`, the path of the method. To refuse, it raises
    `errors.Unauthenticated` or `errors.PermissionDenied`, aborts, or returns False. Any other error refuses the call
    as well, with INTERNAL. What it returns is kept as `identity` of the call's `Context`. The call's deadline holds.

    `methods` has other functions for services and methods, the nearest one counts; None lets everybody in. Health
    checks are always answered; reflection and channelz are not, unless `methods` says so.

    ::

        async def auth(call):
            token = dict(call.invocation_metadata()).get("authorization")
            if token not in users:
                raise errors.Unauthenticated("log in first")
            return users[token]                          # context.current().identity in the handler

        hrpc.with_auth(auth, methods={"shop.Users/Login": None})
    """
    option = "hrpc.with_auth"
    checked = _methods(option, methods, lambda place, value: _auth_function(f"{option}: {place}", value))
    return Option("with_auth", {"auth": Auth(_auth_function(option, function), checked)})


def with_circuit_breaker(
    *,
    failures: float = 0.5,
    calls: int = 20,
    window: float = 10.0,
    open_for: float = 5.0,
    probes: int = 3,
    per: Literal["service", "method"] = "service",
) -> Option:
    """Stops calling a service, or a method of it, that fails: calls to it then fail at once with `errors.BreakerOpen`.

    It opens when of at least `calls` calls in the last `window` seconds the share `failures` (0 to 1) has failed: with
    DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS. After `open_for` seconds (up to a quarter more, so that not
    all callers come back at once) it lets `probes` calls through: it closes when all of them succeed, and opens again
    when one fails. It counts the calls through `service.channel` and `hrpc.client_interceptors`.
    """
    option = "hrpc.with_circuit_breaker"
    if isinstance(failures, bool) or not isinstance(failures, int | float) or not 0 < failures <= 1:
        raise OptionError(f"{option}(failures={failures!r}): takes a share of the calls, above 0 and at most 1")
    if per not in ("service", "method"):
        raise OptionError(f'{option}(per={per!r}): takes "service" or "method"')
    breaker = BreakerSettings(
        float(failures),
        checks.count(option, "calls", calls, 1),
        checks.seconds(option, "window", window, 0.1),
        checks.seconds(option, "open_for", open_for, 0.001),
        checks.count(option, "probes", probes, 1),
        per,
    )
    return Option("with_circuit_breaker", {"breaker": breaker})


def _methods(option: str, methods: Mapping[str, V] | None, check: Callable[[str, V], T]) -> dict[str, T | None]:
    return {
        name: None if value is None else check(f"methods[{name!r}]", value)
        for name, value in checks.by_method(option, methods or {}).items()
    }


def _method_rate(place: str, value: float | tuple[float, int] | None) -> Rate:
    option = f"hrpc.with_rate_limit: {place}"
    if isinstance(value, tuple):
        if len(value) != 2:
            raise OptionError(f"{option}: takes calls a second, or (calls a second, burst), not {value!r}")
        return _rate(option, *value)
    return _rate(option, value, None)


def _rate(option: str, per_second: object, burst: int | None) -> Rate:
    if isinstance(per_second, bool) or not isinstance(per_second, int | float) or not 0 < per_second < float("inf"):
        raise OptionError(f"{option}: takes calls a second, a number above 0, not {per_second!r}")
    if burst is None:
        return Rate(float(per_second), max(1.0, float(per_second)))
    return Rate(float(per_second), float(checks.count(option, "burst", burst, 1)))


def _auth_function(option: str, function: object) -> AuthFunction:
    call = getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__ is one, too
    if not inspect.iscoroutinefunction(function) and not inspect.iscoroutinefunction(call):
        raise OptionError(f"{option}: takes an async function of one argument, the call, not {function!r}")
    return function  # type: ignore[return-value]
