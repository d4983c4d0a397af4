"""Errors on the wire: details of a ``google.rpc.Status`` in the trailing metadata ``grpc-status-details-bin``.

Beside our own message, which has all of an error, stand those that clients of other languages know: ErrorInfo with its
name, issuer, code and id, RetryInfo and BadRequest (https://github.com/googleapis/googleapis/blob/master/google/rpc/).
"""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from hrpc.errors import CallError, Hop, Unknown
from hrpc.option import ErrorSettings
from hrpc.rpc import call_error_pb2

ROOM = 7168
"""Bytes for all trailing metadata of a call: gRPC may refuse more than 8 KiB, and a proxy adds its own."""

LONGEST_MESSAGE = 1024
"""Bytes of an error's message; it is sent three times, once with up to three bytes for each of its bytes."""

_GARBLED = (DecodeError, ValueError)  # the latter by protobuf without its C library, for text that is none
_TYPE_URL = "type.googleapis.com/"
_OVERHEAD = 32  # of an entry of metadata: https://www.rfc-editor.org/rfc/rfc7541#section-4.1
_LONGEST_STATUS = 65536
_LONGEST_NAME = 128
_MOST_HOPS = 32
_MOST_REPEATED = 1000
_STACK_FRAMES = 20
_LONGEST_DELAY = 315_576_000_000  # seconds of a google.protobuf.Duration


class Encoder:
    """Puts errors on the wire for one server."""

    def __init__(self, app_name: str, shows: ErrorSettings) -> None:
        """`shows` says what may leave the server, of its own hop and of those before it."""
        self._shows = shows
        self._app_name = app_name
        self._app_host = socket.gethostname()
        self._repeated: dict[tuple[str, int], tuple[str, bytes]] = {}

    def encode(self, error: CallError, room: int = ROOM) -> tuple[str, bytes]:
        """The message and the details of the status, of `room` bytes in metadata at most.

        What is too long is cut in this order: stacks, context, the oldest hops but the first, the source, the user's
        own details, violations. Name, issuer and code are always there.
        """
        if not error.repeated:
            return self._encode(error, room)
        found = self._repeated.get((error.id, room))
        if found is None:
            if len(self._repeated) >= _MOST_REPEATED:
                self._repeated.clear()
            found = self._repeated[error.id, room] = self._encode(error, room)
        return found

    def _encode(self, error: CallError, room: int) -> tuple[str, bytes]:
        message = _cut(_text(error.message), LONGEST_MESSAGE)
        wire = self._wire(error, message)
        standard = _standard(error)
        limit = (room - _size_as_message(message) - 2 * _OVERHEAD) * 3 // 4  # base64
        data = b""
        for _ in _shorter_and_shorter(wire, standard):
            data = _status(error.grpc_code, message, *standard, wire)
            if len(data) <= limit:
                break
        return message, data

    def neutral(self, code: grpc.StatusCode, message: str, name: str, error_id: str) -> bytes:
        """The details of a status that tells nothing but an id to look up in the log."""
        info = error_details_pb2.ErrorInfo(reason=name, domain=Unknown.issuer, metadata={"error_id": error_id})
        return _status(code, message, info)

    def _wire(self, error: CallError, message: str) -> call_error_pb2.CallError:
        shows = self._shows
        wire = call_error_pb2.CallError(
            id=_text(error.id),
            issuer=error.issuer,
            code=error.error_code,
            grpc_code=error.grpc_code.value[0],
            name=_text(error.name),
            message=message,
            details=[_packed(detail) for detail in error.error_details],
        )
        if error.time is not None:
            wire.time.FromDatetime(error.time)
        if shows.source:
            wire.source_error = _cut(_text(error.source_error), LONGEST_MESSAGE)
            wire.source_type = _cut(_text(error.source_type), _LONGEST_NAME)
        for hop in error.passed_on(self._own_hop(error)):
            wire.trace.add(
                app_name=hop.app_name,
                app_host=hop.app_host if shows.host else "",
                stack_trace=hop.stack_trace if shows.stack else "",
                additional_context=hop.additional_context if shows.context else "",
            )
        return wire

    def _own_hop(self, error: CallError) -> Hop:
        stack = traceback.format_tb(error.__traceback__, limit=-_STACK_FRAMES) if self._shows.stack else ()
        notes = getattr(error, "__notes__", ()) if self._shows.context else ()
        return Hop(self._app_name, self._app_host, _text("".join(stack)), _text("\n".join(map(str, notes))))


def size_of(metadata: Any) -> int:
    """Bytes that these entries take of the room for metadata."""
    return sum(len(key) + len(value) * 4 // 3 + _OVERHEAD for key, value in metadata)


def decode(data: object, error: grpc.aio.AioRpcError) -> CallError | None:
    """The error that these details of `error` tell of; None when they are somebody else's, or garbled."""
    if not isinstance(data, bytes) or len(data) > _LONGEST_STATUS:
        return None
    try:
        status = status_pb2.Status.FromString(data)
        wire = call_error_pb2.CallError()
        if status.code != error.code().value[0] or not any(detail.Unpack(wire) for detail in status.details):
            return None
    except _GARBLED:
        return None
    if not (_is_name(wire.issuer) and _is_name(wire.name) and wire.code):
        return None
    return CallError.restored(
        {
            "issuer": wire.issuer,
            "error_code": wire.code,
            "name": wire.name,
            "grpc_code": error.code(),
            "id": wire.id,
            "message": wire.message,
            "source": (wire.source_error, wire.source_type),
            "time": _time(wire.time) if wire.HasField("time") else None,
            "error_details": tuple(_unpacked(detail) for detail in wire.details),
            "retry_after": _retry_after(status),
            "violations": _violations(status),
            "trace": _trace(wire),
            "initial_metadata": error.initial_metadata(),
            "trailing_metadata": error.trailing_metadata(),
            "debug_error_string": error.debug_error_string(),
        }
    )


def retry_after(data: bytes) -> float | None:
    """Seconds after which to try again, as these details of a status say; None when they do not."""
    if len(data) > _LONGEST_STATUS:
        return None
    try:
        return _retry_after(status_pb2.Status.FromString(data))
    except _GARBLED:
        return None


def _status(code: grpc.StatusCode, message: str, *details: Message) -> bytes:
    status = status_pb2.Status(code=code.value[0], message=message, details=[_packed(detail) for detail in details])
    data: bytes = status.SerializeToString()
    return data


def _standard(error: CallError) -> list[Message]:
    identity = {"code": str(error.error_code), "id": _text(error.id)}
    messages: list[Message] = [
        error_details_pb2.ErrorInfo(reason=_text(error.name), domain=error.issuer, metadata=identity)
    ]
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        delay = min(error.retry_after, _LONGEST_DELAY)
        retry.retry_delay.seconds = int(delay)
        retry.retry_delay.nanos = int((delay - int(delay)) * 1e9)
        messages.append(retry)
    if error.violations:
        request = error_details_pb2.BadRequest()
        for field, description in error.violations.items():
            request.field_violations.add(field=_text(str(field)), description=_text(str(description)))
        messages.append(request)
    return messages


def _shorter_and_shorter(wire: call_error_pb2.CallError, standard: list[Message]) -> Iterator[None]:
    yield
    for field in ("stack_trace", "additional_context"):
        for hop in wire.trace:
            setattr(hop, field, getattr(hop, field)[-500:])
        yield
        for hop in wire.trace:
            hop.ClearField(field)
        yield
    while len(wire.trace) > 2:
        del wire.trace[1]
        yield
    wire.ClearField("source_error")
    yield
    del wire.details[:]
    yield
    del standard[1:]
    yield


def _packed(message: Any) -> any_pb2.Any:
    if isinstance(message, any_pb2.Any):
        return message
    # A message of proto2 may lack a field that it requires, which must not cost the caller its answer.
    return any_pb2.Any(
        type_url=_TYPE_URL + message.DESCRIPTOR.full_name,
        value=message.SerializePartialToString(),
    )


def _unpacked(detail: any_pb2.Any) -> Message:
    try:
        known = descriptor_pool.Default().FindMessageTypeByName(detail.TypeName())
        message: Message = message_factory.GetMessageClass(known)()
        message.ParseFromString(detail.value)
    except (KeyError, *_GARBLED):
        return detail
    return message


def _trace(wire: call_error_pb2.CallError) -> tuple[Hop, ...]:
    hops = [
        Hop(hop.app_name[:_LONGEST_NAME], hop.app_host[:_LONGEST_NAME], hop.stack_trace, hop.additional_context)
        for hop in wire.trace
    ]
    return (*hops[:1], *hops[1:][1 - _MOST_HOPS :])


def _time(time: timestamp_pb2.Timestamp) -> datetime | None:
    try:
        return time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _retry_after(status: status_pb2.Status) -> float | None:
    retry = error_details_pb2.RetryInfo()
    if not _first(status, retry) or not retry.HasField("retry_delay"):
        return None
    seconds: float = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return seconds if 0 <= seconds <= _LONGEST_DELAY else None


def _violations(status: status_pb2.Status) -> Mapping[str, str]:
    request = error_details_pb2.BadRequest()
    found: dict[str, str] = {}
    if _first(status, request):
        for violation in request.field_violations:
            before = found.get(violation.field)
            found[violation.field] = f"{before}; {violation.description}" if before else violation.description
    return found


def _first(status: status_pb2.Status, message: Message) -> bool:
    try:
        return any(detail.Unpack(message) for detail in status.details)
    except _GARBLED:
        return False


def _is_name(text: str) -> bool:
    # Both go into logs: a line break would forge a line.
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable()


def _text(text: str) -> str:
    # Half a character cannot be sent.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _cut(text: str, limit: int) -> str:
    data = text.encode()
    return text if len(data) <= limit else data[: limit - 3].decode(errors="ignore") + "…"


def _size_as_message(text: str) -> int:
    # https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: percent-encoded
    data = text.encode()
    return len(data) + 2 * sum(byte < 0x20 or byte > 0x7E or byte == 0x25 for byte in data)
