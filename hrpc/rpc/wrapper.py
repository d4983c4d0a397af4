"""The wrapper of a call, made once per method: its context, its counts, and an answer whatever the handler does."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Any

import grpc

from hrpc import _runtime, context
from hrpc.metrics.calls import Calls, MethodCalls
from hrpc.rpc.failure import Failures, Guarded, GuardedInThread
from hrpc.rpc.recorder import Handler

_BEHAVIOURS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


class Wrapper:
    """Wraps handlers for one running server."""

    def __init__(self, runtime: _runtime.Runtime, calls: Calls, failures: Failures) -> None:
        self._runtime = runtime
        self._calls = calls
        self._failures = failures

    def wrap(self, path: str, handler: Handler) -> Handler:
        """The handler of ``/package.Service/Method``, of the same kind and with the same codecs."""
        name = _BEHAVIOURS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, name)
        counts = self._calls.method(path, handler.request_streaming, handler.response_streaming)
        # The same tests by which grpc.aio tells a coroutine from a function that it has to run in a thread.
        if inspect.isasyncgenfunction(behaviour):
            wrapped: Callable[..., Any] = self._yielding(behaviour, counts)
        elif inspect.iscoroutinefunction(behaviour):
            wrapped = self._returning(behaviour, counts)
        elif handler.response_streaming:
            wrapped = self._yielding_in_thread(behaviour, counts)
        else:
            wrapped = self._returning_in_thread(behaviour, counts)
        make = getattr(grpc, f"{name}_rpc_method_handler")
        return make(wrapped, handler.request_deserializer, handler.response_serializer)  # type: ignore[no-any-return]

    def _returning(self, behaviour: Callable[..., Awaitable[Any]], counts: MethodCalls) -> Callable[..., Any]:
        failures = self._failures

        async def handle(request: Any, call: Any) -> Any:
            began = counts.begin()
            guarded = Guarded(call)
            try:
                context.enter(context.from_metadata(call.invocation_metadata()))
                response = await behaviour(request, guarded)
                guarded.status = call.code() or grpc.StatusCode.OK
                return response
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
                await call.abort(*failures.status(error, guarded))
            finally:
                counts.end(began, guarded.status)

        return handle

    def _yielding(self, behaviour: Callable[..., AsyncGenerator[Any]], counts: MethodCalls) -> Callable[..., Any]:
        failures = self._failures

        async def handle(request: Any, call: Any) -> AsyncGenerator[Any]:
            began = counts.begin()
            guarded = Guarded(call)
            try:
                context.enter(context.from_metadata(call.invocation_metadata()))
                async with aclosing(behaviour(request, guarded)) as responses:
                    async for response in responses:
                        yield response
                guarded.status = call.code() or grpc.StatusCode.OK
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
                await call.abort(*failures.status(error, guarded))
            finally:
                counts.end(began, guarded.status)

        return handle

    def _returning_in_thread(self, behaviour: Callable[..., Any], counts: MethodCalls) -> Callable[..., Any]:
        serving = self._serving_in_thread(counts)

        def handle(request: Any, call: Any) -> Any:
            with serving(call) as guarded:
                return behaviour(request, guarded)

        return handle

    def _yielding_in_thread(self, behaviour: Callable[..., Iterator[Any]], counts: MethodCalls) -> Callable[..., Any]:
        serving = self._serving_in_thread(counts)

        def handle(request: Any, call: Any) -> Iterator[Any]:
            with serving(call) as guarded:
                yield from behaviour(request, guarded)

        return handle

    def _serving_in_thread(self, counts: MethodCalls) -> Callable[[Any], AbstractContextManager[GuardedInThread]]:
        lock = threading.Lock()

        @contextmanager
        def serving(call: Any) -> Iterator[GuardedInThread]:
            with lock:
                began = counts.begin()
            guarded = GuardedInThread(call)
            # The threads serve one call after another, so what is set for this one is taken back.
            of_thread = _runtime.enter_thread(self._runtime)
            of_call = context.enter(context.from_metadata(call.invocation_metadata()))
            try:
                yield guarded
                guarded.status = guarded.code() or grpc.StatusCode.OK
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
                call.abort(*self._failures.status(error, guarded))
            finally:
                context.leave(of_call)
                _runtime.leave_thread(of_thread)
                with lock:
                    counts.end(began, guarded.status)

        return serving
