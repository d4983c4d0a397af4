"""Does what the events of an agent ask for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from loguru import logger

from hrpc_sidecar.controller import Controller
from hrpc_sidecar.errors import RegisterReplayError, ungrouped
from hrpc_sidecar.events import CONNECTED, DISCONNECTED, ConnectionEvent

OnError = Callable[[Exception], object]
"""Called in the event loop with each error of the watch and of registering."""

_FIRST_RETRY = 0.1


class EventSource(Protocol):
    """What a runner needs of `hrpc_sidecar.WatchSource`."""

    def subscribe(self) -> AsyncGenerator[ConnectionEvent, None]:
        """The events, in their order."""


class Runner:
    """Registers when the agent has connected, and again when that has failed."""

    def __init__(
        self,
        source: EventSource,
        controller: Controller,
        on_error: OnError | None = None,
        *,
        on_registered: Callable[[], object] | None = None,
        retry_interval: float = 1.0,
    ) -> None:
        """`on_registered` is called each time that the agent has taken the registration. `retry_interval`: seconds
        between two attempts to register, at most; the first ones come sooner."""
        self._source = source
        self._controller = controller
        self._on_error = on_error
        self._on_registered = on_registered
        self._interval = retry_interval
        self._retrying: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Goes on until it is cancelled, or the source has no more events. When it has ended, nothing registers any
        more: a request that was under way has been answered."""
        with ungrouped():
            async with asyncio.TaskGroup() as tasks:
                try:
                    async with aclosing(self._source.subscribe()) as events:
                        async for event in events:
                            await self._handle(event, tasks)
                finally:
                    self._end_retrying()

    async def _handle(self, event: ConnectionEvent, tasks: asyncio.TaskGroup) -> None:
        self._controller.observe_event(event)
        if event.type == CONNECTED:
            await self._retrying_ended()
            if not await self._register():
                self._retrying = tasks.create_task(self._retry(), name="hrpc-sidecar: registration")
        elif event.type == DISCONNECTED:
            await self._retrying_ended()
            self._controller.on_disconnected()
            if event.error is not None:
                self._controller.record_error(event.error)
                self._tell(event.error)

    async def _register(self) -> bool:
        try:
            await _whole(self._controller.on_connected())
        except RegisterReplayError as error:
            self._tell(error)
            return False
        if self._on_registered is not None:
            _call("on_registered", self._on_registered)
        return True

    async def _retry(self) -> None:
        wait = _FIRST_RETRY
        while True:
            await asyncio.sleep(min(wait, self._interval) * random.uniform(0.6, 0.85))
            if await self._register():
                return
            wait *= 2

    def _end_retrying(self) -> None:
        if self._retrying is not None:
            self._retrying.cancel()

    async def _retrying_ended(self) -> None:
        self._end_retrying()
        if self._retrying is not None:
            await asyncio.wait({self._retrying})
        self._retrying = None

    def _tell(self, error: Exception) -> None:
        if self._on_error is not None:
            _call("on_error", self._on_error, error)


def _call(name: str, handler: Callable[..., object], *given: Exception) -> None:
    try:
        handler(*given)
    except Exception as fault:  # noqa: BLE001 - the service stays registered also with a handler that fails
        told = "".join(f", with {each!r}" for each in given)
        logger.opt(exception=fault).error("hrpc-sidecar: {} has failed{}", name, told)


async def _whole(registering: Coroutine[Any, Any, None]) -> None:
    """Awaits it also when cancelled: half-way, the agent could still take it in after the deregistration."""
    task = asyncio.ensure_future(registering)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # what went wrong with it matters no more
        raise
