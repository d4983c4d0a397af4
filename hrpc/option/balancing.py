"""The option that says how calls are spread over the instances of other services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.balancer import Balancers, BalancerSettings
from hrpc.option.settings import Option

PICKERS = ("weighted_round_robin", "p2c", "consistent_hash")


def with_balancer(
    picker: Literal["weighted_round_robin", "p2c", "consistent_hash"] = "weighted_round_robin",
    *,
    hash_key: str | None = None,
    prefer_zone: bool = True,
    slow_start: float = 0.0,
    eject_after: int = 5,
    eject_for: float = 5.0,
    services: Mapping[str, BalancerSettings] | None = None,
) -> Option:
    """How `service.channel` spreads calls over the instances of a service. The weights are those of Consul.

    `picker` is one of

    - "weighted_round_robin": each in its turn, as often as its weight says;
    - "p2c": of two that are drawn, the one with less to do: calls that run, times how long its calls take;
    - "consistent_hash": calls with the same value of the metadata key `hash_key` go to the same instance; when
      instances come or go, only the calls move that have to. A call without the key goes round robin.

    `prefer_zone` keeps calls in the own zone (`hrpc.with_registration(zone=…)`, or HRPC_ZONE) as long as its weight is
    enough; "consistent_hash" does not look at zones. With `slow_start`, the weight of an instance that is new, or that
    comes back, grows for so many seconds.

    An instance of which `eject_after` calls in a row have failed (DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or
    DATA_LOSS) gets none for `eject_for` seconds (up to a quarter more, so that not all callers come back at once);
    then one call tries it. Each time that fails, it takes twice as long, up to five minutes. At most half of the
    instances are left out; 0 for `eject_after` leaves out none.

    `services` has other settings for some services, by their names in Consul::

        hrpc.with_balancer("p2c", services={"carts": hrpc.BalancerSettings("consistent_hash", hash_key="user-id")})
    """
    option = "hrpc.with_balancer"
    default = BalancerSettings(picker, hash_key, prefer_zone, slow_start, eject_after, eject_for)
    balancers = Balancers(checked(option, default), _services(option, services))
    return Option("with_balancer", {"balancers": balancers})


def checked(option: str, settings: BalancerSettings) -> BalancerSettings:
    """`settings`, as far as they can be followed. Raises `OptionError`, which names `option`."""
    if not isinstance(settings, BalancerSettings):
        raise OptionError(f'{option}: takes hrpc.BalancerSettings("p2c", …), not {settings!r}')
    if settings.picker not in PICKERS:
        raise OptionError(f"{option}(picker={settings.picker!r}): takes one of {', '.join(PICKERS)}")
    if not isinstance(settings.prefer_zone, bool):
        raise OptionError(f"{option}(prefer_zone={settings.prefer_zone!r}): takes True or False")
    return settings._replace(
        hash_key=_hash_key(option, settings),
        slow_start=checks.seconds(option, "slow_start", settings.slow_start),
        eject_after=checks.count(option, "eject_after", settings.eject_after),
        eject_for=checks.seconds(option, "eject_for", settings.eject_for, 0.001),
    )


def _hash_key(option: str, settings: BalancerSettings) -> str | None:
    key = settings.hash_key
    if settings.picker != "consistent_hash":
        if key is not None:
            raise OptionError(f'{option}(hash_key={key!r}): belongs to "consistent_hash", not to {settings.picker!r}')
        return None
    if not isinstance(key, str) or not checks.METADATA_KEY.fullmatch(key) or key.endswith("-bin"):
        raise OptionError(
            f'{option}(hash_key={key!r}): "consistent_hash" takes the metadata key whose text calls are spread by: '
            'a to z, digits, "_", "-" and ".", without "-bin" at its end'
        )
    return key


def _services(option: str, services: Mapping[str, BalancerSettings] | None) -> dict[str, BalancerSettings]:
    if services is not None and not isinstance(services, Mapping):
        raise OptionError(f'{option}(services={services!r}): takes a mapping, {{"users": hrpc.BalancerSettings(…)}}')
    return {
        checks.service_name(f"{option}: services", name): checked(f"{option}: services[{name!r}]", settings)
        for name, settings in (services or {}).items()
    }
