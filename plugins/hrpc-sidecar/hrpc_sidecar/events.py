"""What the agent tells by its frames."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from hrpc_sidecar.errors import WatchEventParseError
from hrpc_sidecar.frames import Frame

CONNECTED = "connected"
HEARTBEAT = "heartbeat"
DISCONNECTED = "disconnected"


class ConnectionEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event: what the agent has sent, or that the stream has ended."""

    type: str
    """`CONNECTED`, `HEARTBEAT` or `DISCONNECTED`."""
    id: str = ""
    message: str = ""
    service: str = ""
    status: str = ""
    lifecycle_state: str = ""
    ready: bool | None = None
    """None when the agent has not said."""
    generated_at: datetime | None = None
    error: Exception | None = None
    """Why the stream has ended."""


class _Payload(msgspec.Struct, gc=False):
    event: str | None = None
    message: str | None = None
    service: str | None = None
    status: str | None = None
    lifecycle_state: str | None = None
    ready: bool | None = None
    generated_at: datetime | None = None


_decode = msgspec.json.Decoder(_Payload).decode
_KNOWN = frozenset({CONNECTED, HEARTBEAT})


def event_of(frame: Frame) -> ConnectionEvent | None:
    """The event that a frame tells of; None for one that is not known. Raises `WatchEventParseError`."""
    data = frame.data
    if data is not None and data.lstrip()[:1] in (b"{", b"["):
        try:
            payload = _decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            text = str(data, "utf-8", "replace")
            raise WatchEventParseError(
                _type(frame), frame.id.strip(), text, f"its data is no event, {error}"
            ) from error
        kind = (payload.event or "").strip() or _type(frame)
        if kind not in _KNOWN:
            return None
        return ConnectionEvent(
            type=kind,
            id=frame.id.strip(),
            message=payload.message or "",
            service=payload.service or "",
            status=payload.status or "",
            lifecycle_state=payload.lifecycle_state or "",
            ready=payload.ready,
            generated_at=_in_utc(payload.generated_at),
        )
    kind, message = _type(frame), str(data or b"", "utf-8", "replace").strip()
    if kind == "message" and message.lower() == "ok":
        kind = CONNECTED  # of agents that had no events yet
    return ConnectionEvent(type=kind, id=frame.id.strip(), message=message) if kind in _KNOWN else None


def _type(frame: Frame) -> str:
    return frame.event.strip() or "message"


def _in_utc(time: datetime | None) -> datetime | None:
    if time is None or time.tzinfo is None:
        return time and time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:  # beyond the first or the last year
        return None
