"""What a line of the audit log looks like: JSON for machines, or for a person at a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import tzinfo
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple, Protocol

import grpc

from hrpc.log.times import ZONES, Times
from hrpc.status import code_label

# As dashboards and alerts are wont to: an error is the service's own fault, a warning perhaps the caller's.
_ERRORS = {"UNKNOWN", "UNIMPLEMENTED", "INTERNAL", "DATA_LOSS"}
_WARNINGS = {
    "DEADLINE_EXCEEDED",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNAVAILABLE",
}
LONGEST_ERROR = 4096
"""Characters of an error."""

LONGEST_NAME = 256
"""Characters of what the caller says: a trace id, a name, an address. Those of the Go framework take 85."""

_DROPPED = "{} log lines were dropped, because the output was not read for too long"


class Origin(NamedTuple):
    """What every line of a method says: its path, and the place of its handler."""

    path: str
    file_name: str
    package: str


class Ended(NamedTuple):
    """A call that has ended: `when` in seconds of ``time.time``, `seconds` that it took; payloads as text or None."""

    when: float
    seconds: float
    error: str | None
    trace_id: str
    span_id: str
    caller: str
    client_ip: str
    request: str | None = None
    response: str | None = None


def said_of(environment: str, server_name: str, worker: int | None) -> dict[str, object]:
    """The fields of every line that say whose it is; `worker` is the number of the process among several."""
    named: dict[str, object] = {"environment": environment, "server_name": server_name}
    return named if worker is None else {**named, "worker": worker}


class AuditFormat(Protocol):
    """Makes lines."""

    def head(self, method: Origin, code: grpc.StatusCode) -> str:
        """The part that all calls of this method with this code share."""

    def line(self, head: str, call: Ended) -> str:
        """The line, with its line break."""

    def dropped(self, lines: int) -> str:
        """The line that says how many were dropped."""


def _level(code: grpc.StatusCode) -> str:
    return "error" if code.name in _ERRORS else "warning" if code.name in _WARNINGS else "info"


class JsonFormat:
    """One JSON object a line, with the fields of the Go framework."""

    def __init__(self, server: Mapping[str, object], zones: Mapping[str, tzinfo] = ZONES) -> None:
        """`server` are the fields that say whose line it is, see `said_of`; `zones` those that say when."""
        self._server = server
        self._times = Times(zones)

    def head(self, method: Origin, code: grpc.StatusCode) -> str:
        """The part that all calls of this method with this code share."""
        label = code_label(code)
        shared = {
            "level": _level(code),
            "msg": f"{method.path} {label}",
            "category": "audit",
            "file_name": method.file_name,
            "package": method.package,
            **self._server,
            "method": method.path,
            "direction": "in",
            "code": label,
        }
        return json.dumps(shared, separators=(",", ":"))[:-1]

    def line(self, head: str, call: Ended) -> str:
        """The line, with its line break."""
        when, seconds, error, trace_id, span_id, caller, client_ip, request, response = call
        payloads = ""
        if request is not None:
            payloads = f',"request":{quoted(request)}'
        if response is not None:
            payloads += f',"response":{quoted(response)}'
        return (
            f'{head},"trace_id":{quoted(trace_id)},"span_id":{quoted(span_id)},'
            f'{self._times.json(when)},"duration_ms":{seconds * 1000:.3f},"error":{quoted(error or "")},'
            f'"caller":{quoted(caller)},"client_ip":{quoted(client_ip)}{payloads}}}\n'
        )

    def dropped(self, lines: int) -> str:
        """The line that says how many were dropped."""
        now = time.time()
        shared = {
            "level": "warning",
            "msg": _DROPPED.format(lines),
            "category": "log",
            "trace_id": "",
            "file_name": "",
            "package": __name__,
            **self._server,
            "dropped": lines,
        }
        return f"{json.dumps(shared)[:-1]},{self._times.json(now)}}}\n"


class HumanFormat:
    """A readable line, as the other lines on a terminal."""

    _COLOURS = {"info": "1", "warning": "33;1", "error": "31;1"}  # noqa: RUF012 - never changed

    _SHOWN = ("trace_id", "caller", "client_ip", "error", "request", "response")

    def __init__(self, worker: int | None = None) -> None:
        self._times = Times()
        self._worker = "" if worker is None else f"worker={worker} "

    def head(self, method: Origin, code: grpc.StatusCode) -> str:
        """The part that all calls of this method with this code share."""
        level = _level(code)
        return f"\x1b[{self._COLOURS[level]}m{level.upper(): <7}\x1b[0m {method.path} {code_label(code)}"

    def line(self, head: str, call: Ended) -> str:
        """The line, with its line break."""
        fields = {name: getattr(call, name) for name in self._SHOWN}
        shown = self._worker + " ".join(f"{key}={_visible(value)}" for key, value in fields.items() if value)
        return f"\x1b[2m{self._times.local(call.when)}\x1b[0m {head} in {call.seconds * 1000:.1f} ms  {shown}\n"

    def dropped(self, lines: int) -> str:
        """The line that says how many were dropped."""
        warning = f"\x1b[{self._COLOURS['warning']}mWARNING\x1b[0m"
        return f"\x1b[2m{self._times.local(time.time())}\x1b[0m {warning} {_DROPPED.format(lines)}\n"


def _visible(text: str) -> str:
    # What comes from a caller must not move the cursor or forge a line.
    return text if text.isprintable() else quoted(text)
