"""What a handler sees of its call: all of grpc.aio's ``ServicerContext``, less what would leave it unanswered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, Self

import grpc
import grpc.aio
from loguru import logger

from hrpc.context import Context
from hrpc.from_thread import Portal
from hrpc.metrics.calls import MethodCalls
from hrpc.rpc import metadata

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def known(code: object) -> grpc.StatusCode:
    """What grpcio takes for a code: a StatusCode or its number; anything else is UNKNOWN."""
    if isinstance(code, grpc.StatusCode):
        return code
    return _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else grpc.StatusCode.UNKNOWN


class Call:
    """One call, as its handler sees it, and what the wrapper keeps of it: its context and how it ended."""

    # Defaults of the class: a call sets what it has, and most end well.
    status: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    failure: str = ""
    """What went wrong, for the log; it may say more than the client is told."""
    abort_error: grpc.aio.AbortError | None = None
    """What the engine has raised for the handler's abort, and wants to see again."""
    code_given: grpc.StatusCode | None = None
    """The code that the handler has set."""
    has_ended = False
    """Whether the wrapper is done with it. From then on grpc.aio must not be asked for what its core knows of the call:
    it has released that, and the process would end with a segmentation fault, as of grpcio 1.85."""
    _aborted = False
    _beginning: asyncio.Future[None] | None = None

    def __init__(self, raw: Any, context: Context, method: str, counts: MethodCalls, peer: str) -> None:
        """`raw` is the engine's own ``ServicerContext``, `method` the path ``/package.Service/Method``, and `peer` the
        other end of its connection; the messages of streams are added to `counts`."""
        self._raw = raw
        self._counts = counts
        self._peer = peer
        self.context = context
        self.method = method

    @property
    def aborted(self) -> bool:
        """Whether the handler has ended the call itself."""
        return self._aborted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    async def read(self) -> Any:
        """The next request of a stream, or ``grpc.aio.EOF``."""
        request = await self._raw.read()
        if request is not grpc.aio.EOF:
            self._counts.received += 1
        return request

    async def write(self, response: Any) -> None:
        """Sends a response of a stream. Raises TypeError where the handler returns its response: the client of such a
        method takes no second one, and would never see the status behind it."""
        if not self._counts.response_streaming:
            raise TypeError("context.write: this method has one response, which its handler returns")
        if self._beginning is None or not self._beginning.done():
            await self.begin()
        await self._raw.write(response)
        self._counts.sent += 1

    async def sending(self) -> None:
        """Counts a response that somebody else sends now."""
        if self._beginning is None or not self._beginning.done():
            await self.begin()
        self._counts.sent += 1

    def peer(self) -> str:
        """The other end of the connection, such as ``ipv4:127.0.0.1:1234``; also when the call has ended."""
        return self._peer

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What is known of the client. Raises ``grpc.aio.UsageError`` when the call has ended."""
        self._check_not_ended("auth_context")
        return self._raw.auth_context()  # type: ignore[no-any-return]

    def peer_identities(self) -> Iterable[bytes] | None:
        """Who the client is, None without TLS. Raises ``grpc.aio.UsageError`` when the call has ended."""
        self._check_not_ended("peer_identities")
        return self._raw.peer_identities()  # type: ignore[no-any-return]

    def peer_identity_key(self) -> str | None:
        """Where in `auth_context` that is from. Raises ``grpc.aio.UsageError`` when the call has ended."""
        self._check_not_ended("peer_identity_key")
        return self._raw.peer_identity_key()  # type: ignore[no-any-return]

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls back with this call when it has ended."""
        self._raw.add_done_callback(lambda _: callback(self))

    def time_remaining(self) -> float | None:
        """Seconds until the deadline of the call, whoever set it; None when there is none."""
        return self.context.time_remaining()

    def code(self) -> grpc.StatusCode | None:
        """The code that the handler has set; None when it has set none."""
        return self.code_given

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets the code of the answer."""
        self._raw.set_code(known(code))
        if not self._aborted:
            self.code_given = known(code)

    def set_details(self, details: str) -> None:
        """Sets the message of the answer, which is cut when it is too long to be sent. Raises TypeError for no str."""
        self._raw.set_details(metadata.message(details))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Sets the metadata that goes out with the status. Raises ValueError for what cannot be sent."""
        self._raw.set_trailing_metadata(metadata.checked(trailing_metadata))

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Sends metadata ahead of the response. Raises ValueError for what cannot be sent."""
        checked = metadata.checked(initial_metadata)
        if self._beginning is not None:
            await self._raw.send_initial_metadata(checked)  # which says that it was sent already
        await self.begin(checked)

    async def begin(self, initial_metadata: metadata.Metadata = ()) -> None:
        """Sends the initial metadata to its end, also when the deadline passes meanwhile.

        gRPC sends it along with a first response, and once more with the status when that response was cancelled
        half-way; which is an error, and the client would never see the status.
        """
        if self._beginning is None:
            self._beginning = asyncio.ensure_future(self._raw.send_initial_metadata(initial_metadata))
        sending = self._beginning
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending})
            with suppress(Exception, asyncio.CancelledError):  # the client is gone
                sending.result()
            raise

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the call with this status. Raises ``grpc.aio.AbortError``; ValueError for OK, which is no error, and for
        metadata that cannot be sent; TypeError for details that are no str; and ``grpc.aio.UsageError`` when the call
        has ended."""
        self._check_not_ended("abort")
        if code in (grpc.StatusCode.OK, 0):
            raise ValueError("context.abort(OK): return a response instead")
        message, trailing = metadata.message(details), metadata.checked(trailing_metadata)
        # It is the first one that arrives: the engine refuses a second.
        if not self._aborted:
            self._aborted = True
            self.code_given = known(code)
            self.failure = message
        try:
            await self._raw.abort(known(code), message, trailing)
        except grpc.aio.AbortError as error:
            self.abort_error = error
            raise
        raise AssertionError("the engine's abort returned")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """The same, with a status object such as grpcio-status makes."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def _check_not_ended(self, name: str) -> None:
        if self.has_ended:
            raise grpc.aio.UsageError(f"context.{name}: {self.method} has ended; use it only while the handler runs")


class Requests:
    """The requests of a stream, which are counted as they are read."""

    __slots__ = ("_counts", "_next", "_requests")

    def __init__(self, requests: AsyncIterable[Any], counts: MethodCalls) -> None:
        self._requests = requests
        self._counts = counts
        self._next: Callable[[], Awaitable[Any]] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._next is None:
            self._next = aiter(self._requests).__anext__  # not before: grpc.aio's warns when it is made and never used
        request = await self._next()
        self._counts.received += 1
        return request


class CallInThread:
    """The same for a handler that runs in a thread: ``grpc.ServicerContext``, where nothing is awaited."""

    def __init__(self, call: Call, portal: Portal) -> None:
        self._call = call
        self._portal = portal
        self._active = True
        self._callbacks: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the call with this status. Raises ``grpc.aio.AbortError``, or ValueError for OK, which is no error."""
        self._portal.run(self._call.abort, code, details, trailing_metadata)
        raise AssertionError("the call's abort returned")

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """The same, with a status object such as grpcio-status makes."""
        self.abort(status.code, status.details, status.trailing_metadata or ())

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Sends the initial metadata now."""
        self._portal.run(self._call.send_initial_metadata, initial_metadata)

    def is_active(self) -> bool:
        """Whether somebody still waits for the answer."""
        return self._active

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Calls back, in any thread, when the call has ended; gives False when it has already, and then does not."""
        if self._active:
            self._callbacks.append(callback)
        return self._active

    def end(self) -> None:
        """The call has ended; its thread may go on for a while."""
        self._active = False
        self._portal.end()
        for callback in self._callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - it must not cost the caller the answer that is there already
                logger.opt(exception=error).error("a callback of {} failed", self._call.method)
