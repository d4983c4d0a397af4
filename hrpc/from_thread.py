"""From a handler that is not a coroutine, back to the event loop of its server.

::

    def Get(self, request, context):                                    # runs in a thread
        row = hrpc.from_thread.run(mysql.get().query_one, "SELECT …", request.id)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from hrpc import _runtime
from hrpc.errors import NotRunning

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """The way into the event loop for one call that is served in threads; it ends with the call."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Future[Any]] = set()
        self._ended = False

    def run(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """See the module's `run`."""

        async def awaited() -> T:
            return await work(*args, **kwargs)

        future = asyncio.run_coroutine_threadsafe(awaited(), self._loop)
        self._waiting.add(future)
        if self._ended:
            future.cancel()
        try:
            return future.result()
        finally:
            self._waiting.discard(future)

    def end(self) -> None:
        """Cancels what still runs for the call, and whatever its threads try to run from now on."""
        self._ended = True
        for future in tuple(self._waiting):
            future.cancel()


_portal: ContextVar[Portal | None] = ContextVar("hrpc_portal", default=None)


def enter(portal: Portal) -> None:
    """Makes `portal` that of the current context, which is a call's own."""
    _portal.set(portal)


@contextmanager
def reachable() -> Iterator[None]:
    """Lets threads that are started with a copy of this context use the server as handlers in threads do.

    ``get()`` of the databases and `run` work there, until the end of this block. It is for what serves something else
    than gRPC with functions that are not async, in an event loop with a server.
    """
    portal, runtime = Portal(), _runtime.current()
    entered = None if runtime is None else _runtime.enter_thread(runtime)
    token = _portal.set(portal)
    try:
        yield
    finally:
        portal.end()
        _portal.reset(token)
        if entered is not None:
            _runtime.leave_thread(entered)


def run(work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Awaits ``work(*args, **kwargs)`` in the event loop, with the context of the call, and gives its result.

    Raises what `work` raises; ``concurrent.futures.CancelledError`` when the call ends meanwhile, by its deadline or
    because its client went away; and `NotRunning` outside of a handler's thread.
    """
    portal = _portal.get()
    if portal is None:
        raise NotRunning(
            "hrpc.from_thread.run: no call is served in this thread; use it in a handler that is not async"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return portal.run(work, *args, **kwargs)
    raise NotRunning("hrpc.from_thread.run: this is the event loop itself, which would wait for ever: use await")
