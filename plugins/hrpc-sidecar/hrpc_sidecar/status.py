"""How a service stands with its sidecar-agent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from hrpc_sidecar.errors import (
    RegisterReplayError,
    SidecarApiError,
    WatchEventParseError,
    WatchHttpStatusError,
    WatchStreamClosed,
)

ErrorKind = Literal[
    "watch_stream_closed",
    "watch_http_status",
    "watch_event_parse",
    "register_replay",
    "sidecar_api",
    "runtime_error",
]

_KINDS: tuple[tuple[type[Exception], ErrorKind], ...] = (
    (WatchStreamClosed, "watch_stream_closed"),
    (WatchHttpStatusError, "watch_http_status"),
    (WatchEventParseError, "watch_event_parse"),
    (RegisterReplayError, "register_replay"),
    (SidecarApiError, "sidecar_api"),
)


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of `hrpc_sidecar.Controller`. Times are in RFC 3339, in UTC; empty when there was none."""

    connected: bool = False
    """Whether the stream of events is open."""
    registered: bool = False
    """Whether the agent has taken the registration since it was last connected to."""
    last_service_name: str = ""
    last_service_port: int = 0
    """Those that were last sent to be registered."""
    last_event_type: str = ""
    last_event_id: str = ""
    last_event_at: str = ""
    """When the agent made it, if it says so; else when it was seen here."""
    last_connected_at: str = ""
    last_disconnected_at: str = ""
    disconnect_count: int = 0
    register_replay_count: int = 0
    """How often it was registered."""
    register_replay_failure_count: int = 0
    last_error_kind: ErrorKind | Literal[""] = ""
    last_error: str = ""
    last_error_at: str = ""

    def as_dict(self) -> dict[str, object]:
        """The same for JSON."""
        return asdict(self)


def error_kind(error: Exception) -> ErrorKind:
    """Which kind of errors one belongs to."""
    return next((kind for known, kind in _KINDS if isinstance(error, known)), "runtime_error")


def rfc3339(time: float | datetime) -> str:
    """A time as text, in UTC; a number is seconds since 1970. Empty for 0."""
    if not time:
        return ""
    known = time.astimezone(UTC) if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)
    return known.isoformat().replace("+00:00", "Z")
