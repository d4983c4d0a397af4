"""The option of the times of a log line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from types import MappingProxyType

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.settings import Option

_TAKEN = frozenset(
    {"level", "msg", "category", "trace_id", "span_id", "file_name", "package", "environment", "server_name", "worker"}
    | {"detail", "method", "direction", "code", "duration_ms", "error", "caller", "client_ip", "request", "response"}
    | {"dropped"}
)


def with_log_times(**zones: str | tzinfo) -> Option:
    """The time fields of a log line, and the time zones that they are in, in the place of ``pst_time`` and ``bj_time``.

    A zone is a name of the IANA time zone database, or a ``tzinfo``. Lines for a person at a terminal have the time of
    the machine. Raises `OptionError` for an unknown zone, and for a name that another field has.

    ::

        hrpc.with_log_times(pst_time="Europe/Berlin", bj_time="UTC")     # other zones under the old names
        hrpc.with_log_times(time="UTC")                                  # one time, under a name of its own
    """
    option = "hrpc.with_log_times"
    if not zones:
        raise OptionError(f'{option}: give at least one time, as in time="UTC"')
    if taken := sorted(_TAKEN & zones.keys()):
        raise OptionError(f"{option}: a log line has fields {', '.join(taken)} already; give the time another name")
    times: Mapping[str, tzinfo] = {name: checks.zone(f"{option}({name}=…)", zone) for name, zone in zones.items()}
    return Option("with_log_times", {"log_times": MappingProxyType(times)})
