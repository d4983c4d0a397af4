"""From the events of pygrpc-native to the handlers, and back."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import grpc.aio
from loguru import logger

from hrpc.engine.native.call import (
    CANCELLED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    NativeCall,
)
from hrpc.status import NOT_BEGUN

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

    from hrpc.abc import Handler
    from hrpc.option import MessageLimits

BATCH = 64
"""Events that are handed to the event loop at once, so that a burst wakes it up once."""

Serve = Callable[["NativeCall", bytes], Coroutine[Any, Any, None]]

_OK = grpc.StatusCode.OK
_STOPPING = "the server is stopping"
_CANCEL = 1  # pygrpc_native.EVENT_CANCEL


class Details(NamedTuple):
    """What an interceptor is told of a call: grpcio's ``HandlerCallDetails``."""

    method: str
    invocation_metadata: tuple[Any, ...]


class Dispatch:
    """Runs the handlers in the event loop that it is started in."""

    def __init__(
        self,
        front: NativeGrpcFront,
        methods: Mapping[str, Handler],
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        limits: MessageLimits,
    ) -> None:
        self._front = front
        self._interceptors = interceptors
        self._limits = limits
        self._calls: dict[int, NativeCall] = {}
        self._paths = list(methods)
        self._methods = [self._serving(path, handler) for path, handler in methods.items()]
        self._loop = asyncio.get_running_loop()
        # Handlers see the context variables of whoever starts the server, as they do with grpcio.
        self._context = contextvars.copy_context()
        self._refuses = False
        self._thread = threading.Thread(target=self._receive, name="hrpc-native", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._front.add_methods([(path, False) for path in self._paths])
        self._front.start()
        self._thread.start()

    def refuse(self) -> None:
        """Answers every new call with UNAVAILABLE from now on."""
        self._refuses = True

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """The tasks of the calls that run now."""
        return [call.task for call in self._calls.values() if call.task is not None]

    def cancel(self) -> None:
        """Cancels the calls that run now; their clients are told UNAVAILABLE."""
        for call in list(self._calls.values()):
            if not call.started:
                call.fail(UNAVAILABLE, NOT_BEGUN)
                call.gone = True
            call.cancel()

    @property
    def unsent(self) -> int:
        """How many calls have an answer that has not left yet."""
        methods = (self._front.metrics() or {"methods": {}})["methods"].values()
        ended: int = sum(status["count"] for method in methods for status in method["status"].values())
        started: int = sum(method["started"] for method in methods)
        return started - ended

    def _receive(self) -> None:
        while (events := self._front.recv_batch_details(BATCH)) is not None:
            try:
                self._loop.call_soon_threadsafe(self._take, events)
            except RuntimeError:  # the loop was closed without a stop
                self._front.close()
                return

    def _take(self, events: list[Any]) -> None:
        front, calls, create_task, context = self._front, self._calls, self._loop.create_task, self._context
        for kind, call_id, method_id, payload, _, details in events:
            if kind == _CANCEL:
                ended = calls.get(call_id)
                if ended is not None:
                    ended.gone = True
                    ended.cancel()
            elif self._refuses:
                front.fail(call_id, UNAVAILABLE, NOT_BEGUN)
            else:
                call = calls[call_id] = NativeCall(front, call_id, details)
                call.task = create_task(self._methods[method_id](call, payload), context=context.copy())

    def _serving(self, path: str, handler: Handler) -> Serve:
        """What runs a call of one method, from its bytes to its answer."""
        calls, interceptors, limits = self._calls, self._interceptors, self._limits
        as_registered = handler.unary_unary, handler.request_deserializer, handler.response_serializer

        async def serve(call: NativeCall, payload: bytes) -> None:
            try:
                call.started = True
                if call.gone:
                    return None
                if len(payload) > limits.receive:
                    return call.fail(RESOURCE_EXHAUSTED, _too_large("Received", len(payload), limits.receive))
                behaviour, parse, render = as_registered
                if interceptors:
                    found = await self._intercept(call, path, handler)
                    if found is None:
                        return call.fail(UNIMPLEMENTED, "Method not found!")
                    behaviour, parse, render = found.unary_unary, found.request_deserializer, found.response_serializer
                response = await behaviour(payload if parse is None else parse(payload), call)  # type: ignore[misc,arg-type]
                if call.answered:
                    return None
                if call.status is not None and call.status is not _OK:
                    return call.fail_as_set()
                data = response if render is None else render(response)
                if len(data) > limits.send:
                    return call.fail(RESOURCE_EXHAUSTED, _too_large("Sent", len(data), limits.send))
                call.respond(data)
            except asyncio.CancelledError:
                if not call.gone and not call.answered:
                    call.fail(*((UNAVAILABLE, _STOPPING) if self._refuses else (CANCELLED, "cancelled")))
            except grpc.aio.AbortError:
                if not call.answered:  # it could not be sent
                    call.fail(INTERNAL, "internal error")
            except BaseException as error:  # noqa: BLE001 - the client has to be answered, in neutral words
                logger.opt(exception=error).error("{}: the answer could not be made: {!r}", path, error)
                if not call.answered:
                    call.fail(INTERNAL, "internal error")
            finally:
                del calls[call.id]
                call.finish()

        return serve

    async def _intercept(self, call: NativeCall, path: str, handler: Handler) -> Handler | None:
        """What the interceptors make of the handler."""

        def continuation(index: int) -> Callable[[Any], Awaitable[Any]]:
            async def proceed(details: Any) -> Any:
                if index == len(self._interceptors):
                    return handler
                return await self._interceptors[index].intercept_service(continuation(index + 1), details)

            return proceed

        found = await continuation(0)(Details(path, call.invocation_metadata()))
        if found is not None and (found.request_streaming or found.response_streaming):
            raise TypeError(f"an interceptor gave a handler of another kind for the unary method {path}")
        return found  # type: ignore[no-any-return]


def _too_large(done: str, size: int, limit: int) -> str:
    return f"{done} message larger than max ({size} vs. {limit})"
