"""A unary call of the native engine, with the interface of ``grpc.aio.ServicerContext``."""

from __future__ import annotations

import asyncio
import time
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from loguru import logger

from hrpc.status import RETRY_PUSHBACK

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

Metadata: TypeAlias = "Sequence[tuple[str, str | bytes]]"
Details: TypeAlias = "tuple[tuple[tuple[str, str | bytes], ...], str, float | None]"

UNAVAILABLE, INTERNAL, CANCELLED, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 14, 13, 1, 8, 12

_AUTH = {"transport_security_type": [b"insecure"], "security_level": [b"TSI_SECURITY_NONE"]}
_RESERVED_AND_SENT = ("grpc-status-details-bin", RETRY_PUSHBACK)
_MAPPED = "ipv6:[::ffff:"

# Handlers read `.key` and `.value` of what grpcio gives them.
Metadatum = namedtuple("Metadatum", ("key", "value"))


class NativeCall:
    """One call. Its status goes out when the handler aborts it, else when the handler has returned."""

    # Defaults of the class: most calls leave them as they are, and an attribute less to set is time.
    status: grpc.StatusCode | None = None
    """What the handler has set."""
    initial: Metadata | None = None
    task: asyncio.Task[None] | None = None
    started = False
    answered = False
    gone = False
    """Whether nobody waits for the answer: the client has left, or the deadline has passed."""
    _details = ""
    _trailing: Metadata = ()
    _callbacks: list[Callable[[Any], None]] | None = None

    def __init__(self, front: NativeGrpcFront, call_id: int, details: Details) -> None:
        self._front = front
        self.id = call_id
        self.metadata, self._peer, remaining = details
        self.deadline = None if remaining is None else time.monotonic() + remaining

    def cancel(self) -> None:
        """Cancels the handler. One that has not begun must not be: nothing would take note of the call's end."""
        if self.started and self.task is not None:
            self.task.cancel()

    def respond(self, response: bytes) -> None:
        """Answers. Raises ValueError or TypeError for metadata that cannot be sent."""
        self._front.respond(self.id, response, self.initial, self._trailing)
        self.answered = True

    def fail(self, code: int, details: str, trailing: Metadata = ()) -> None:
        """Answers with a status that is not OK. Raises ValueError or TypeError for what cannot be sent."""
        self._front.fail(self.id, code, details, trailing)
        self.answered = True

    def fail_as_set(self) -> None:
        """Answers with the status that the handler has set."""
        assert self.status is not None
        self.fail(self.status.value[0], self._details, self._trailing)

    def finish(self) -> None:
        """Runs the callbacks; the call is over."""
        for callback in self._callbacks or ():
            try:
                callback(self)
            except Exception as error:  # noqa: BLE001 - as grpcio does: the call is over, the others have to run
                logger.opt(exception=error).error("a done callback of a call failed")
        self._callbacks = None

    # What grpc.aio.ServicerContext has.

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """Answers with this status, at once. Raises ``grpc.aio.AbortError``."""
        if not self.answered:
            self.fail(code.value[0], details, _sendable(trailing_metadata) or self._trailing)
            self.status, self._details = code, details
        raise grpc.aio.AbortError("aborted by the handler")

    async def abort_with_status(self, status: Any) -> NoReturn:
        """The same, with a ``grpc.Status``."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Sends metadata before the response; here together with it. Raises ValueError when it was called before."""
        if self.initial is not None or self.answered:
            raise ValueError("initial metadata has been sent already")
        self.initial = _sendable(initial_metadata)

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Sets the metadata that goes out with the status. Raises ValueError for what cannot be sent."""
        self._trailing = _sendable(trailing_metadata)

    def trailing_metadata(self) -> Metadata:
        """What `set_trailing_metadata` has set."""
        return self._trailing

    def invocation_metadata(self) -> tuple[Any, ...]:
        """The client's metadata, with ``key`` and ``value``; values are bytes for keys that end in ``-bin``."""
        return tuple(map(Metadatum._make, self.metadata))

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets the code of the answer."""
        if not self.answered:
            self.status = code

    def code(self) -> grpc.StatusCode | None:
        """The code that was set; None when none was."""
        return self.status

    def set_details(self, details: str) -> None:
        """Sets the text of the status."""
        if not self.answered:
            self._details = details

    def details(self) -> str:
        """The text that was set."""
        return self._details

    def peer(self) -> str:
        """The client's address as grpcio writes it: ``ipv4:127.0.0.1:1234`` or ``ipv6:%5B::1%5D:1234``."""
        return peer(self._peer)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def cancelled(self) -> bool:
        """Whether the client has left or the deadline has passed."""
        return self.gone

    def done(self) -> bool:
        """Whether the call has ended."""
        return self.answered or self.gone

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls back when the handler has ended."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    def peer_identities(self) -> None:
        """There are none without TLS."""

    def peer_identity_key(self) -> None:
        """There is none without TLS."""

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """What grpcio tells of a connection without TLS."""
        return _AUTH

    def set_compression(self, compression: grpc.Compression) -> None:
        """Allows the answer to be compressed; the native engine never does."""

    def disable_next_message_compression(self) -> None:
        """Has the next message not compressed, as none is."""


def peer(address: str) -> str:
    """A peer's address of pygrpc-native, as grpcio writes it."""
    if address.startswith(_MAPPED):
        return "ipv4:" + address.removeprefix(_MAPPED).replace("]", "", 1)
    return address.replace("[", "%5B", 1).replace("]", "%5D", 1)


def _sendable(metadata: Metadata) -> Metadata:
    """What pygrpc-native sends of it. Raises ValueError for names that it keeps to itself."""
    for key, _ in metadata:
        if key.startswith("grpc-") and key not in _RESERVED_AND_SENT:
            raise ValueError(f"metadata: the key {key!r} is reserved for gRPC, and the native engine does not send it")
    # Without it, clients wait as long as their own settings say before they call again.
    return tuple(pair for pair in metadata if pair[0] != RETRY_PUSHBACK)
