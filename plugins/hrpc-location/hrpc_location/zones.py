"""Time zones by name, and the time there."""

from __future__ import annotations

import difflib
import functools
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from types import MappingProxyType
from zoneinfo import ZoneInfo

from hrpc.errors import HrpcError, NotRunning
from hrpc.plugin import Slot

OWN: Mapping[str, tzinfo] = MappingProxyType({"pst": ZoneInfo("America/Los_Angeles"), "bjs": ZoneInfo("Asia/Shanghai")})
"""What every service has names for, as in the Go framework."""

slot = Slot[Mapping[str, tzinfo]]("hrpc-location", "hrpc_location.with_zones(…)")


class UnknownZone(HrpcError, LookupError):
    """There is no time zone of this name, neither among those of the service nor in the IANA database."""


def pst() -> tzinfo:
    """The time zone of Los Angeles, with its daylight saving time."""
    return OWN["pst"]


def bjs() -> tzinfo:
    """The time zone of Beijing."""
    return OWN["bjs"]


def zone(name: str) -> tzinfo:
    """A time zone: one that `with_zones` has named, ``pst`` or ``bjs``, or one of the IANA database.

    The names of `with_zones` are known in the service's calls, jobs, steps and hooks, as those of all that a server
    has. Raises `UnknownZone`.

    ::

        zone("office"), zone("Europe/Berlin")
    """
    named = _named()
    if name in named:
        return named[name]
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        pass
    raise UnknownZone(_unknown(name, named))


def now(name: str) -> datetime:
    """The time now in a zone, by what `zone` takes. Raises `UnknownZone`."""
    return datetime.now(zone(name))


def pst_now() -> datetime:
    """The time now in Los Angeles."""
    return datetime.now(pst())


def bjs_now() -> datetime:
    """The time now in Beijing."""
    return datetime.now(bjs())


def _named() -> Mapping[str, tzinfo]:
    try:
        return slot.get()
    except NotRunning:
        return OWN


@functools.cache
def _of_the_database() -> Sequence[str]:
    # Kept, because to list them opens hundreds of files, and it may be callers of a service who do not know the names.
    return sorted(zoneinfo.available_timezones())


def _unknown(name: object, named: Mapping[str, tzinfo]) -> str:
    near = difflib.get_close_matches(str(name), [*named, *_of_the_database()], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see https://www.iana.org/time-zones"
    return f"unknown time zone {name!r}: neither one of {', '.join(sorted(named))} nor of the IANA database; {hint}"
