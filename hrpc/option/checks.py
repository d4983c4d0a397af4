"""What several options check alike. Each check gives the value, or raises an `OptionError` that names the option."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import TypeVar

from hrpc.errors import InvalidPort, OptionError
from hrpc.option.settings import Hook

T = TypeVar("T")

_DNS_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
METADATA_KEY = re.compile(r"[a-z0-9_.-]+", re.ASCII)
"""The keys of metadata (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Custom-Metadata")."""

_HOST_NAME = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.|$))+", re.ASCII)
_METHOD = re.compile(r"/?[\w.]+(/\w+)?", re.ASCII)


def port(option: str, number: object, lowest: int = 0) -> int:
    """A port from `lowest` to 65535."""
    if type(number) is not int or not lowest <= number <= 65535:
        raise InvalidPort(option, number, lowest)
    return number


def seconds(option: str, name: str, value: object, lowest: float = 0.0) -> float:
    """Seconds, `lowest` or more; `name` is that of the parameter."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value < float("inf"):
        raise OptionError(f"{option}({name}={value!r}): takes seconds, {lowest:g} or more")
    return float(value)


def share(option: str, name: str, value: object) -> float:
    """A part of a whole, from 0 to 1; `name` is that of the parameter."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise OptionError(f"{option}({name}={value!r}): takes a share from 0 to 1")
    return float(value)


def service_name(option: str, name: object) -> str:
    """The name of a service, which is a DNS label."""
    if not isinstance(name, str) or not _DNS_LABEL.fullmatch(name):
        raise OptionError(
            f"{option}({name!r}): a service is found by DNS as well, so its name takes 1 to 63 letters, digits and "
            "hyphens, without a hyphen at its ends"
        )
    return name


def text(option: str, name: str, value: object) -> str:
    """Printable text of 1 to 512 bytes, what Consul takes as a value; `name` is that of the parameter."""
    if not isinstance(value, str) or not value or not value.isprintable() or len(value.encode()) > 512:
        raise OptionError(f"{option}({name}={value!r}): takes printable text of 1 to 512 bytes")
    return value


def host(option: str, value: object) -> str:
    """What others can connect to: an IP address, whose brackets are taken off, or a host name."""
    if not isinstance(value, str):
        raise OptionError(f"{option}: takes an IP address or a host name, not {value!r}")
    address = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        # Digits and dots alone were meant to be an IP address: as a name, nobody would find it.
        is_name = len(address) <= 253 and _HOST_NAME.fullmatch(address) and not address.replace(".", "").isdigit()
        if is_name and address is value:
            return address
        raise OptionError(
            f"{option}: {value!r} is neither an IP address nor a host name; it takes no scheme and no port"
        ) from None
    if ip.is_unspecified or ip.is_multicast:
        raise OptionError(f"{option}: nobody can connect to {value!r}; take the address of an interface")
    return address


def hooks(option: str, functions: tuple[Hook, ...]) -> tuple[Hook, ...]:
    """Functions without arguments."""
    for hook in functions:
        if not callable(hook):
            raise OptionError(f"{option}: {hook!r} is not a function without arguments")
    return functions


def count(option: str, name: str, value: object, lowest: int = 0, highest: int = 2**31 - 1) -> int:
    """A whole number from `lowest` to `highest`; `name` is that of the parameter."""
    if type(value) is not int or not lowest <= value <= highest:
        raise OptionError(f"{option}({name}={value!r}): takes a whole number from {lowest} to {highest}")
    return value


def zone(option: str, value: object) -> tzinfo:
    """A time zone: itself, or by its name in the IANA database (https://www.iana.org/time-zones)."""
    if isinstance(value, tzinfo):
        try:
            datetime.now(value)
        except Exception as error:  # of a class of theirs
            raise OptionError(f"{option}: {value!r} cannot say what time it is there: {error!r}") from error
        return value
    import difflib  # with zoneinfo, for those who name zones
    import zoneinfo

    if not isinstance(value, str):
        raise OptionError(f"{option}: takes the name of a time zone, or a tzinfo, not {value!r}")
    try:
        return zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(value, sorted(zoneinfo.available_timezones()), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "it takes names such as 'Europe/Berlin' or 'UTC'"
    raise OptionError(f"{option}: there is no time zone {value!r} in the IANA database; {hint}")


def by_method(option: str, values: Mapping[str, T]) -> dict[str, T]:
    """Values for methods, ``package.Service/Method``, and services, ``package.Service``; without a first slash."""
    if not isinstance(values, Mapping):
        raise OptionError(f'{option}: takes a mapping, {{"package.Service/Method": …}}, not {values!r}')
    for name in values:
        if not isinstance(name, str) or not _METHOD.fullmatch(name):
            raise OptionError(
                f'{option}: {name!r} is neither a method, "package.Service/Method", nor a service, "package.Service"'
            )
    return {name.removeprefix("/"): value for name, value in values.items()}
