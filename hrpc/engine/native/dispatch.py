"""From the events of pygrpc-native to the handlers, and back."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
    Metadatum,
    NativeCall,
)

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

    from hrpc.abc import Handler
    from hrpc.option import MessageLimits

BATCH = 64
"""Events that are handed to the event loop at once, so that a burst wakes it up once."""

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
        self._methods = list(methods.items())
        self._interceptors = interceptors
        self._limits = limits
        self._calls: dict[int, NativeCall] = {}
        self._loop = asyncio.get_running_loop()
        # Handlers see the context variables of whoever starts the server, as they do with grpcio.
        self._context = contextvars.copy_context()
        self._refuses = False
        self._thread = threading.Thread(target=self._receive, name="hrpc-native", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._front.add_methods([(path, False) for path, _ in self._methods])
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
                call.fail(UNAVAILABLE, _STOPPING)
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
        front, calls, loop = self._front, self._calls, self._loop
        for kind, call_id, method_id, payload, _, details in events:
            if kind == _CANCEL:
                ended = calls.get(call_id)
                if ended is not None:
                    ended.gone = True
                    ended.cancel()
            elif self._refuses:
                front.fail(call_id, UNAVAILABLE, _STOPPING)
            else:
                call = calls[call_id] = NativeCall(front, call_id, details)
                path, handler = self._methods[method_id]
                call.task = loop.create_task(self._run(call, path, handler, payload), context=self._context.copy())

    async def _run(self, call: NativeCall, path: str, handler: Handler, payload: bytes) -> None:
        try:
            call.started = True
            if not call.gone:
                await self._serve(call, path, handler, payload)
        except asyncio.CancelledError:
            if not call.gone and not call.answered:
                call.fail(*((UNAVAILABLE, _STOPPING) if self._refuses else (CANCELLED, "cancelled")))
        except grpc.aio.AbortError:
            pass
        except BaseException as error:  # noqa: BLE001 - the client has to be answered, in neutral words
            logger.opt(exception=error).error("{}: the answer could not be made: {!r}", path, error)
            if not call.answered:
                call.fail(INTERNAL, "internal error")
        finally:
            del self._calls[call.id]
            call.finish()

    async def _serve(self, call: NativeCall, path: str, handler: Handler | None, payload: bytes) -> None:
        if self._interceptors:
            handler = await self._intercept(call, path, handler)
            if handler is None:
                return None
        assert handler is not None
        limits = self._limits
        if len(payload) > limits.receive:
            too_large = f"Received message larger than max ({len(payload)} vs. {limits.receive})"
            return call.fail(RESOURCE_EXHAUSTED, too_large)
        parse, render = handler.request_deserializer, handler.response_serializer
        response = await handler.unary_unary(payload if parse is None else parse(payload), call)  # type: ignore[misc,arg-type]
        if call.answered:
            return None
        if call.code() not in (None, grpc.StatusCode.OK):
            return call.fail_as_set()
        data = response if render is None else render(response)
        if len(data) > limits.send:
            return call.fail(RESOURCE_EXHAUSTED, f"Sent message larger than max ({len(data)} vs. {limits.send})")
        return call.respond(data)

    async def _intercept(self, call: NativeCall, path: str, handler: Handler | None) -> Handler | None:
        """What the interceptors make of the handler; None when the call has been answered."""

        def continuation(index: int) -> Callable[[Any], Awaitable[Any]]:
            async def proceed(details: Any) -> Any:
                if index == len(self._interceptors):
                    return handler
                return await self._interceptors[index].intercept_service(continuation(index + 1), details)

            return proceed

        details = Details(path, tuple(map(Metadatum._make, call.metadata)))
        found = await continuation(0)(details)
        if found is None:
            call.fail(UNIMPLEMENTED, "Method not found!")
        elif found.request_streaming or found.response_streaming:
            raise TypeError(f"an interceptor gave a handler of another kind for the unary method {path}")
        return found  # type: ignore[no-any-return]
