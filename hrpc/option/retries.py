"""The options that say when a call to another service is made again."""

from __future__ import annotations

from collections.abc import Iterable

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.retry import HedgingSettings, RetrySettings
from hrpc.option.settings import Option

_MOST_ATTEMPTS = 5
"""As in gRPC's own retries (https://github.com/grpc/proposal/blob/master/A6-client-retries.md)."""


def with_retry(attempts: int = 3, *, idempotent: Iterable[str] = (), budget: float = 0.2) -> Option:
    """How often a call of `service.channel` is made before its error is told: `attempts`, 1 to 5, with the first one.

    Without this option it is 3 times. Again is made what surely did not run: the instance could not be connected to, or
    it has refused the call before any handler saw it. A method that is declared `idempotent`, or whose service is, is
    also called again when it may have run: after UNAVAILABLE, and after RESOURCE_EXHAUSTED with a time to come again.
    Each attempt goes to another instance, where there is one, and none begins after the deadline; streams are begun
    again only before their first message. `budget` bounds those that may have run: such a share of the calls, and up to
    ten a second; 0 allows none.

    ::

        hrpc.with_retry(idempotent=("shop.Orders/Get", "shop.Prices"))
    """
    option = "hrpc.with_retry"
    settings = RetrySettings(
        checks.count(option, "attempts", attempts, 1, _MOST_ATTEMPTS),
        _methods(f"{option}(idempotent=…)", idempotent),
        checks.share(option, "budget", budget),
    )
    return Option("with_retry", {"retry": settings})


def with_hedging(methods: Iterable[str], *, delay: float = 0.05, attempts: int = 2) -> Option:
    """Calls of these methods, or services, that take longer than `delay` seconds are made again at another instance.

    The first good answer counts, and the other attempts are cancelled; so these have to be methods that may run more
    than once. `attempts` is 2 to 5, with the first one; each further one begins `delay` seconds after the one before,
    or at once when all before have failed. They share the budget of `hrpc.with_retry`. Only calls with one request and
    one response are hedged.

    ::

        hrpc.with_hedging(["shop.Prices/Get"], delay=0.02)
    """
    option = "hrpc.with_hedging"
    found = _methods(option, methods)
    if not found:
        raise OptionError(f'{option}: give the methods that may run more than once, ["package.Service/Method"]')
    settings = HedgingSettings(
        found,
        checks.seconds(option, "delay", delay, 0.001),
        checks.count(option, "attempts", attempts, 2, _MOST_ATTEMPTS),
    )
    return Option("with_hedging", {"hedging": settings})


def _methods(option: str, names: Iterable[str]) -> frozenset[str]:
    if isinstance(names, str):
        raise OptionError(f'{option}: takes a list of methods, ["{names}"], not {names!r}')
    return frozenset(checks.by_method(option, dict.fromkeys(names)))
