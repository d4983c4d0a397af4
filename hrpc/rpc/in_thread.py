"""Serving handlers that are not coroutines: in threads, with the call's context, deadline and resources."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from hrpc import _runtime, from_thread
from hrpc.from_thread import Portal
from hrpc.rpc.call import Call, CallInThread
from hrpc.rpc.threads import DaemonThreads

_END = object()


class InThread:
    """Makes coroutines of handlers that have to run in threads. Each step of a stream takes a thread anew, so that a
    reader that stalls holds none."""

    def __init__(self, runtime: _runtime.Runtime, threads: DaemonThreads) -> None:
        self._runtime = runtime
        self._threads = threads

    def returning(self, behaviour: Callable[..., Any], request_streaming: bool) -> Callable[..., Any]:
        """For a handler that returns its response."""

        async def body(request: Any, call: Call) -> Any:
            served = _Served(self._runtime, self._threads, call)
            try:
                if request_streaming:
                    request = _Requests(request, served.portal)
                return await served.run(behaviour, request, served.call)
            finally:
                served.end()

        return body

    def yielding(self, behaviour: Callable[..., Iterator[Any]], request_streaming: bool) -> Callable[..., Any]:
        """For a handler that yields its responses."""

        async def body(request: Any, call: Call) -> AsyncIterator[Any]:
            served = _Served(self._runtime, self._threads, call)
            responses: Iterator[Any] | None = None
            try:
                if request_streaming:
                    request = _Requests(request, served.portal)
                responses = iter(await served.run(behaviour, request, served.call))
                while (response := await served.run(next, responses, _END)) is not _END:
                    yield response
            finally:
                served.end(getattr(responses, "close", None))

        return body


class _Served:
    """One call that is served in threads, one at a time, all in the same context."""

    def __init__(self, runtime: _runtime.Runtime, threads: DaemonThreads, call: Call) -> None:
        self.portal = Portal()
        self.call = CallInThread(call, self.portal)
        self._threads = threads
        self._context = contextvars.copy_context()
        self._context.run(_runtime.enter_thread, runtime)
        self._context.run(from_thread.enter, self.portal)
        self._step: Future[Any] | None = None

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Gives what `function` returns; one that is cancelled goes on in its thread, and nobody hears of it."""
        self._step = self._threads.submit(self._context.run, _called, function, args)
        return await asyncio.wrap_future(self._step)

    def end(self, close: Callable[[], None] | None = None) -> None:
        """`close` is called when no thread is at work any more, which can be long after the call has ended."""
        self.call.end()
        if close is not None and self._step is not None:
            # As work of its own, and not at the end of the step: its thread counts as free by then.
            self._step.add_done_callback(lambda _: self._close(close))

    def _close(self, close: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the server has stopped; the generator closes when nothing holds it any more
            self._threads.submit(self._context.run, close)


def _called(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return function(*args)
    except StopIteration as error:
        # An asyncio future refuses to carry it, and would never be done.
        raise RuntimeError("the handler raised StopIteration") from error


class _Requests:
    """The requests of a stream, for a thread."""

    def __init__(self, requests: AsyncIterator[Any], portal: Portal) -> None:
        self._requests = requests
        self._portal = portal
        self._iterator: AsyncIterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        request = self._portal.run(self._next)
        if request is _END:
            raise StopIteration
        return request

    async def _next(self) -> Any:
        if self._iterator is None:
            self._iterator = aiter(self._requests)  # not before: grpc.aio's warns when it is made and never used
        return await anext(self._iterator, _END)
