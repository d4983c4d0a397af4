"""The plugin: the names of time zones, for the time of a life, and for the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import tzinfo

import hrpc.plugin
from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc_location.zones import OWN, slot

_OPTION = "hrpc_location.with_zones"
_FIELDS = ("pst_time", "bj_time")

Log = Sequence[str] | Mapping[str, str]


class Location(hrpc.plugin.Plugin):
    """Gives time zones names. See `with_zones`."""

    name = "hrpc-location"

    def __init__(self, zones: Mapping[str, str | tzinfo] | None = None, log: Log | None = None) -> None:
        """As `with_zones`. Raises `OptionError`."""
        self._zones = {**OWN, **_checked(zones or {})}
        if log is not None:
            self.options = (hrpc.with_log_times(**dict(self._times(log))),)

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Lets `zone` know the names while the context lasts."""
        with hrpc.plugin.provide(slot, self._zones):
            yield

    def _times(self, log: Log) -> Iterator[tuple[str, tzinfo]]:
        if not isinstance(log, Mapping):
            if isinstance(log, str) or not isinstance(log, Sequence) or len(log) != len(_FIELDS):
                raise OptionError(
                    f"{_OPTION}(log={log!r}): takes two zones, for the fields {' and '.join(_FIELDS)} of the log, or a "
                    "mapping of fields to zones"
                )
            log = dict(zip(_FIELDS, log, strict=True))
        for field, name in log.items():
            if not isinstance(field, str):
                raise OptionError(f"{_OPTION}(log=…): {field!r} is no name of a field of the log")
            named = self._zones.get(name) if isinstance(name, str) else None
            yield field, named or checks.zone(f"{_OPTION}(log=…{field}…)", name)


def _checked(zones: Mapping[str, str | tzinfo]) -> dict[str, tzinfo]:
    if taken := sorted(OWN.keys() & zones.keys()):
        raise OptionError(f"{_OPTION}: {', '.join(taken)} cannot mean another time zone; choose another name")
    return {name: checks.zone(f"{_OPTION}({name}=…)", zone) for name, zone in zones.items()}


def with_zones(*, log: Log | None = None, **zones: str | tzinfo) -> hrpc.Option:
    """Gives time zones names, by which `zone` and `now` find them: names of the IANA database, or a ``tzinfo``.

    `log` says in which zones the two times of a log line are, by these names or by those of the IANA database: two for
    the fields ``pst_time`` and ``bj_time``, or a mapping of fields to zones. Without it they are as they were.

    Raises `OptionError` for a time zone that there is not.

    ::

        hrpc_location.with_zones(office="Europe/Berlin", plant="America/Chicago")
        hrpc_location.with_zones(office="Europe/Berlin", log=("office", "UTC"))
        hrpc_location.with_zones(log={"time": "UTC"})
    """
    return hrpc.plugin.option(_OPTION, Location(zones, log))
