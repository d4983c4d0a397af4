"""The wrapper of a call, made once per method: context, deadline, counts, and an answer whatever the handler does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, NamedTuple

import grpc
import grpc.aio

from hrpc import context
from hrpc.abc import Admission
from hrpc.rpc.call import Call, Requests
from hrpc.rpc.deadline import Deadlines
from hrpc.rpc.failure import Failures, UnreadableRequest
from hrpc.rpc.giving import as_generator, giving
from hrpc.rpc.in_thread import InThread
from hrpc.rpc.method import Method
from hrpc.rpc.not_found import or_not_found
from hrpc.rpc.recorder import Handler

Body = Callable[[Any, Call], Awaitable[Any]]
"""A handler of any kind as a coroutine: it gives the one response, or writes the responses of a stream itself."""

ABORT_LIMIT = 1.0
"""Seconds that the end of a stream waits for its reader to take what was sent before."""

_KINDS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


arrived: ContextVar[Any] = ContextVar("hrpc_arrived", default=None)
"""The metadata of the call that the current task serves, where it has been decoded already."""


class Codecs(NamedTuple):
    """What makes a message of bytes, and bytes of a message; None leaves them as they are."""

    read: Callable[[bytes], Any] | None = None
    write: Callable[[Any], bytes] | None = None


class Wrapper:
    """Wraps handlers for one running server."""

    def __init__(
        self,
        describe: Callable[[str, Handler], Method],
        failures: Failures,
        in_thread: InThread,
        *,
        intercepted: bool = False,
    ) -> None:
        """`describe` gives what happens around a method, by its path. `intercepted`: interceptors of the user's look at
        messages between the engine and the wrapper."""
        self._describe = describe
        self._failures = failures
        self._in_thread = in_thread
        self._intercepted = intercepted
        self._deadlines = Deadlines()

    def wrap(self, path: str, handler: Handler) -> Handler:
        """The handler of ``/package.Service/Method``, of the same kind and with the same codecs."""
        kind = _KINDS[handler.request_streaming, handler.response_streaming]
        method = self._describe(path, handler)
        behaviour = getattr(handler, kind)
        body = self._body(behaviour, handler.request_streaming, handler.response_streaming)
        if method.not_found and not handler.response_streaming:
            body = or_not_found(body)
        # What fails in an engine's hands goes to the client word for word, so the wrapper reads and writes the messages
        # itself: all but those of streams, which the engine reads and writes inside of the wrapper.
        outside = Codecs(handler.request_deserializer, handler.response_serializer)
        inside = Codecs()
        if not self._intercepted:
            read, write = outside
            inside = Codecs(None if handler.request_streaming else read, None if handler.response_streaming else write)
            outside = Codecs(read if handler.request_streaming else None, write if handler.response_streaming else None)
        handle: Callable[..., Any] = self._handle(path, method, body, handler, inside)
        if self._intercepted and handler.response_streaming and not _is_coroutine(behaviour):
            handle = as_generator(handle)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(handle, *outside)  # type: ignore[no-any-return]

    def _body(self, behaviour: Callable[..., Any], request_streaming: bool, response_streaming: bool) -> Body:
        writing = giving if self._intercepted else _writing
        if inspect.isasyncgenfunction(behaviour):
            return writing(behaviour)
        if _is_coroutine(behaviour):
            return behaviour
        if response_streaming:
            return writing(self._in_thread.yielding(behaviour, request_streaming))
        return self._in_thread.returning(behaviour, request_streaming)

    def _handle(
        self, path: str, method: Method, body: Body, handler: Handler, codecs: Codecs
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        counts, timeout, tracing, audit = method.counts, method.timeout, method.tracing, method.audit
        admission, auth, running = method.admission, method.auth, method.counts.running
        failures, deadlines = self._failures, self._deadlines
        request_streaming = handler.request_streaming
        read, write = codecs
        abort = _abort_stream if handler.response_streaming else _abort

        async def handle(request: Any, raw: Any) -> Any:
            peer = raw.peer()
            current = context.from_metadata(arrived.get() or raw.invocation_metadata(), peer)
            current.method = path
            call = Call(raw, current, path, counts, peer)
            context.enter(current)
            began = running[call] = counts.begin()
            span = response = None
            error: BaseException | None = None
            admitted: Admission | None = None
            try:
                if tracing is not None:
                    span = tracing(current, raw)
                kept = deadlines.keep(raw, current, timeout, began)
                try:
                    if admission is not None:
                        admission.admit()
                        admitted = admission
                    if auth is not None:
                        await auth(call)
                    if read is not None:
                        try:
                            request = read(request)
                        except Exception as unreadable:
                            raise UnreadableRequest from unreadable
                    response = await body(Requests(request, counts) if request_streaming else request, call)
                finally:
                    # Before the answer leaves: the caller's next call finds the place free.
                    if admitted is not None:
                        admitted.release()
                    if kept is not None:
                        deadlines.release(kept)
                code = call.code_given or grpc.StatusCode.OK
                # grpc.aio drops the response of a call that has failed; there may be none.
                answer = response if write is None else write(response) if code is grpc.StatusCode.OK else b""
                call.status = code
                return answer
            except BaseException as caught:  # noqa: BLE001 - whatever it is, the caller gets an answer
                error = caught
                await abort(raw, *failures.status(caught, call))
            finally:
                del running[call]
                call.has_ended = True
                seconds = counts.end(began, call.status, current.trace_id)
                if span is not None:
                    span.end(call.status, error)
                if audit is not None:
                    audit.add(
                        current, call.status, seconds, call.failure, None if request_streaming else request, response
                    )

        return handle


def _is_coroutine(behaviour: Callable[..., Any]) -> bool:
    # Of an object with an async __call__, inspect itself does not say that it is a coroutine function.
    return inspect.iscoroutinefunction(behaviour) or inspect.iscoroutinefunction(type(behaviour).__call__)


async def _abort(raw: Any, *answer: Any) -> None:
    await raw.abort(*answer)


async def _abort_stream(raw: Any, *answer: Any) -> None:
    """Behind responses that a stalled reader has not taken, the status waits with them; the handler does not."""
    try:
        async with asyncio.timeout(ABORT_LIMIT):
            await raw.abort(*answer)
    except TimeoutError:
        # grpc.aio takes this for the end of the call, and sends the status when the reader goes on.
        raise asyncio.CancelledError from None


def _writing(behaviour: Callable[[Any, Call], AsyncGenerator[Any]]) -> Body:
    async def body(request: Any, call: Call) -> None:
        write = call.write
        async with aclosing(behaviour(request, call)) as responses:
            async for response in responses:
                await write(response)

    return body
