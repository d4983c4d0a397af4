"""The calls that a service makes: they carry the context of the call it serves, and end before that one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import lru_cache, partial
from typing import Any

import grpc
import grpc.aio

from hrpc import _runtime, context
from hrpc.abc import OutgoingSpan, Tracer
from hrpc.rpc.breaker import Breaker, Breakers
from hrpc.rpc.upstream_error import error_of

Begin = Callable[[str], OutgoingSpan]
"""Begins the span of a call to this ``host:port``."""

_METHODS_AT_MOST = 1000

MARGIN, MARGIN_SHARE = 0.05, 0.1
"""What is left of a deadline goes on to the next service less this: at most so many seconds, at most such a share.

It is for the way back, so that a handler hears of a late answer while it can still answer itself.
"""


class Outgoing:
    """What goes along with the calls of one service."""

    def __init__(self, server_name: str, breakers: Breakers | None = None) -> None:
        self._server_name = server_name
        self._breakers = breakers
        self._calling: Callable[[str, str], Begin | None] | None = None

    def breaker(self, path: str, service: str = "") -> Breaker | None:
        """What counts the calls to ``/package.Service/Method``, and refuses them; `service` is its name in Consul."""
        return None if self._breakers is None else self._breakers.breaker(service, path)

    def tracing(self, path: str, service: str = "") -> Begin | None:
        """What begins the span of a call to a method; None when it is not traced."""
        return None if self._calling is None else self._calling(path, service)

    def traced_by(self, tracer: Tracer | None) -> None:
        """Calls are traced from now on; by nobody when None is given."""
        self._calling = None if tracer is None else lru_cache(_METHODS_AT_MOST)(tracer.calling)

    def timeout(self, given: float | None) -> float | None:
        """The seconds for a call whose caller wants `given`, as far as the call that is being served leaves them."""
        current = context.current()
        if current is None or current.deadline is None:
            return given
        left = current.deadline - time.monotonic()
        left = max(0.0, left - min(MARGIN, left * MARGIN_SHARE))
        return left if given is None else min(given, left)

    def metadata(self, given: Any, timeout: float | None, span: OutgoingSpan | None = None) -> Any:
        """`given` and the context of the call that is being served; what is in `given` already is not touched.

        With a `span`, it is this that the callee takes for its parent.
        """
        current = context.current()
        own = [] if current is None else current.metadata(self._server_name, timeout)
        if span is not None:
            own = [*(dict(own) | dict(span.metadata)).items()]
        if not own:
            return given
        given = tuple(given or ())  # it may be an iterator
        keys = {key for key, _ in given}
        return (*given, *(pair for pair in own if pair[0] not in keys))

    def made(
        self,
        call: Any,
        *,
        streaming: bool,
        breaker: Breaker | None = None,
        turn: int = 0,
        span: OutgoingSpan | None = None,
    ) -> Any:
        """`call`, as grpc.aio gives it; `streaming`: its responses are a stream. `breaker`, whose `before` has given
        `turn`, is told how it ends, and so is `span`."""
        if breaker is not None:
            _when_done(call, partial(_tell, breaker, turn))
        if span is not None:
            _when_done(call, partial(_end, span))
        return _ManyResponses(call) if streaming else _OneResponse(call)

    def failed(
        self, error: BaseException, *, breaker: Breaker | None = None, turn: int = 0, span: OutgoingSpan | None = None
    ) -> BaseException:
        """What to raise for the `error` with which making a call ended; `breaker` and `span` hear of it."""
        known = error.code() if isinstance(error, grpc.aio.AioRpcError) else None
        if breaker is not None:
            breaker.after(turn, known or grpc.StatusCode.CANCELLED)  # which says nothing of the service
        if span is not None:
            is_cancelled = isinstance(error, asyncio.CancelledError)
            span.end(known or (grpc.StatusCode.CANCELLED if is_cancelled else grpc.StatusCode.UNKNOWN), error)
        return error_of(error) if isinstance(error, grpc.aio.AioRpcError) else error


def _when_done(call: Any, tell: Callable[[Any], None]) -> None:
    # What grpc.aio makes of an interceptor's bare response takes no callbacks.
    if call.done():
        tell(call)
    else:
        call.add_done_callback(tell)


def _tell(breaker: Breaker, turn: int, call: Any) -> None:
    breaker.after(turn, _code(call))


def _end(span: OutgoingSpan, call: Any) -> None:
    span.end(_code(call), None)


def _code(call: Any) -> grpc.StatusCode:
    return finished(call.code()) or grpc.StatusCode.UNKNOWN


def finished(asked: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine of a call that has ended gives: it has nothing to wait for. None if it waits all the same."""
    try:
        asked.send(None)
    except StopIteration as told:
        return told.value
    asked.close()
    return None


slot = _runtime.Slot[Outgoing]("outgoing calls", None)
_outside = Outgoing("")


def of_the_server() -> Outgoing:
    """That of the server that runs here; outside of one, calls carry what `background_context` gives."""
    runtime = _runtime.current()
    found = None if runtime is None else runtime.values.get(slot)
    return found if isinstance(found, Outgoing) else _outside


class _OutgoingCall:
    """A call of grpc.aio, which raises the errors of `hrpc.errors` where the other side has raised one."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class _OneResponse(_OutgoingCall):
    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            return (yield from self._call.__await__())
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None


class _ManyResponses(_OutgoingCall):
    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None

    async def read(self) -> Any:
        """The next response, or ``grpc.aio.EOF``."""
        try:
            return await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None


grpc.aio.UnaryUnaryCall.register(_OneResponse)
grpc.aio.StreamUnaryCall.register(_OneResponse)
grpc.aio.UnaryStreamCall.register(_ManyResponses)
grpc.aio.StreamStreamCall.register(_ManyResponses)
