"""All of it for one service: what a program without hrpc's server uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from loguru import logger

from hrpc.option import checks
from hrpc_sidecar import place
from hrpc_sidecar.client import ApiClient
from hrpc_sidecar.controller import Client, Controller
from hrpc_sidecar.errors import AgentRunError, SidecarError, Stage, ungrouped
from hrpc_sidecar.node import ServiceNode, ServiceOptions
from hrpc_sidecar.runner import OnError, Runner
from hrpc_sidecar.status import Status
from hrpc_sidecar.watch import WatchSource

_OPTION = "hrpc_sidecar.Agent"


class Agent:
    """Keeps one service registered with the sidecar-agent of its machine.

    ::

        agent = Agent(options, services=[descriptor], grace_period=5, serve=serve, shutdown=stop)
        await agent.run()
    """

    def __init__(
        self,
        options: ServiceOptions,
        *,
        services: Iterable[str | ServiceDescriptor] = (),
        base_url: str = place.DEFAULT_BASE_URL,
        watch_url: str | None = None,
        grace_period: float = 0.0,
        request_timeout: float = 3.0,
        reconnect_interval: float = 1.0,
        idle_limit: float | None = 60.0,
        on_error: OnError | None = None,
        on_registered: Callable[[], object] | None = None,
        serve: Callable[[], Awaitable[object]] | None = None,
        shutdown: Callable[[], Awaitable[object]] | None = None,
        shutdown_limit: float = 30.0,
        client: Client | None = None,
    ) -> None:
        """`services`: what `method_paths` takes. All times are in seconds.

        `grace_period`: how long a stop waits after the agent was told to drain; 0 is not to drain.
        `request_timeout`: for each request, and for the beginning of the stream. `reconnect_interval`: at most,
        between the end of a stream and the next attempt. `idle_limit`: after which a stream that sends nothing
        is left; None for never. `on_error`: called with each error that `run` goes on after; `on_registered`:
        each time that the agent has taken the registration. `serve` and `shutdown`: see `run`;
        `shutdown_limit`: for these two to end. `client`: in the place of `ApiClient`. Raises
        `hrpc.errors.OptionError`, of which one is `WatchUrlRequired`.
        """
        if idle_limit is not None:
            checks.seconds(_OPTION, "idle_limit", idle_limit, 0.01)
        checks.seconds(_OPTION, "reconnect_interval", reconnect_interval, 0.001)
        checks.seconds(_OPTION, "request_timeout", request_timeout, 0.01)
        self._grace_period = checks.seconds(_OPTION, "grace_period", grace_period)
        self._limit = checks.seconds(_OPTION, "shutdown_limit", shutdown_limit)
        self.node = ServiceNode(options, services)
        self.client: Client = client or ApiClient(base_url, request_timeout)
        self.source = WatchSource(
            watch_url,
            base_url=base_url,
            reconnect_interval=reconnect_interval,
            idle_limit=idle_limit,
            timeout=request_timeout,
        )
        self.controller = Controller(self.client, self.node)
        self.runner = Runner(
            self.source, self.controller, on_error, on_registered=on_registered, retry_interval=reconnect_interval
        )
        self._serve = serve
        self._shutdown = shutdown
        self._stopping = asyncio.Event()

    def status(self) -> Status:
        """How the service stands with the agent."""
        return self.controller.status()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keeps the service registered while the context lasts. At its end nothing registers it any more; it is not
        deregistered."""
        with ungrouped():
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self.runner.run(), name="hrpc-sidecar: watch")
                try:
                    yield
                finally:
                    watch.cancel()

    async def drain(self) -> None:
        """Has the agent send no new calls, unless the grace period is 0. Raises `SidecarApiError`."""
        if self._grace_period:
            await self.controller.drain(self._grace_period)

    async def deregister(self) -> None:
        """Has the agent forget the service. Raises `SidecarApiError`, but not for a service that it never took."""
        try:
            await self.controller.deregister()
        except SidecarError:
            if self.status().register_replay_count:
                raise

    def stop(self) -> None:
        """Ends `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Keeps the service registered while `serve` runs; without it, until `stop` or until it is cancelled.

        At the end, in this order: the watch ends, the agent is told to drain and the grace period is waited for,
        `shutdown` is called and `serve` awaited (or cancelled, when there is no `shutdown`), the agent is told to
        forget the service. Each happens whatever became of those before it.

        Raises `AgentRunError` with the first stage that failed.
        """
        errors: list[AgentRunError] = []
        watch = asyncio.create_task(self.runner.run(), name="hrpc-sidecar: watch")
        serving = None if self._serve is None else asyncio.ensure_future(self._serve())
        try:
            try:
                await self._ended(watch, serving)
            except asyncio.CancelledError:
                await self._leave(watch, serving, errors)
                for error in errors:
                    logger.error("hrpc-sidecar: {}", error)
                raise
            await self._leave(watch, serving, errors)
        finally:
            # Nothing goes on alone, also when the leaving was cancelled as well.
            watch.cancel()
            if serving is not None:
                serving.cancel()
            self._stopping.clear()
        if errors:
            first, *others = errors
            for other in others:
                first.add_note(f"then {other}")
            raise first

    async def _ended(self, watch: asyncio.Task[None], serving: asyncio.Future[Any] | None) -> None:
        """Waits for the first reason to stop."""
        stopping = asyncio.create_task(self._stopping.wait())
        reasons: list[asyncio.Future[Any]] = [stopping] if serving is None else [stopping, serving]
        try:
            await asyncio.wait([*reasons, watch], return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and watch.exception() is None and serving is not None:
                # A source that has an end: the service lives on without it.
                await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _leave(
        self, watch: asyncio.Task[None], serving: asyncio.Future[Any] | None, errors: list[AgentRunError]
    ) -> None:
        if not watch.done():
            watch.cancel()
            await asyncio.wait({watch})
        await _stage("lifecycle", _result(watch), errors)
        if serving is not None and serving.done():
            await _stage("serve", _result(serving), errors)
            serving = None
        try:
            await self.drain()
        except SidecarError as error:
            errors.append(AgentRunError("agent_shutdown", error))
        else:
            if self._serve is None:
                await asyncio.sleep(self._grace_period)  # what serves is not known here
            elif serving is not None and self._grace_period:
                await asyncio.wait({serving}, timeout=self._grace_period)
        await self._stop_serving(serving, errors)
        await _stage("agent_shutdown", self.deregister(), errors)

    async def _stop_serving(self, serving: asyncio.Future[Any] | None, errors: list[AgentRunError]) -> None:
        if self._shutdown is not None:
            await _stage("shutdown", asyncio.wait_for(self._shutdown(), self._limit), errors)
        if serving is None:
            return
        if self._shutdown is None:
            serving.cancel()
        done, _ = await asyncio.wait({serving}, timeout=self._limit)
        if not done:
            serving.cancel()
            late = TimeoutError(f"serve has not ended within {self._limit:g} s, and was cancelled")
            errors.append(AgentRunError("shutdown", late))
            await asyncio.wait({serving}, timeout=1.0)
            return
        await _stage("serve", _result(serving), errors)


async def _stage(stage: Stage, work: Awaitable[object], errors: list[AgentRunError]) -> None:
    try:
        await work
    except Exception as error:  # noqa: BLE001 - raised by `run` once the other stages are through
        errors.append(AgentRunError(stage, error))


async def _result(ended: asyncio.Future[Any]) -> None:
    """Raises what it has ended with, unless it was cancelled."""
    with suppress(asyncio.CancelledError):
        ended.result()
