"""The sidecar-agent in the life of an hrpc server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Unpack

from loguru import logger

import hrpc
from hrpc import metrics
from hrpc.plugin import Announced, Plugin, Slot, option, provide
from hrpc_sidecar import place
from hrpc_sidecar.agent import Agent
from hrpc_sidecar.errors import SidecarError
from hrpc_sidecar.node import App, Service, ServiceOptions
from hrpc_sidecar.rotation import RotatingClient
from hrpc_sidecar.settings import OPTION, SidecarOptions, SidecarSettings
from hrpc_sidecar.status import Status, error_kind


def with_sidecar(base_url: str = place.DEFAULT_BASE_URL, **settings: Unpack[SidecarOptions]) -> hrpc.Option:
    """Registers the server with the sidecar-agent of this machine, instead of with Consul.

    Consul, where `hrpc.with_consul` names one, is then for configuration and discovery only; with `beside_consul` the
    server registers there as well. A start waits for the registration; when the agent does not take it, the start fails
    with `fail_fast` after `request_timeout`, and otherwise goes on at once: the service is registered when the agent
    takes it.

    ::

        hrpc.new_server(hrpc.with_server_name("orders"), hrpc_sidecar.with_sidecar())
        hrpc_sidecar.with_sidecar("http://127.0.0.1:15011", reconnect_interval=0.5, idle_limit=None, fail_fast=True)

    The settings and their defaults are those of `SidecarSettings`. Raises `hrpc.errors.OptionError`.
    """
    return option(OPTION, Sidecar(base_url, **settings))


class Sidecar(Plugin):
    """The same as a plugin, for ``hrpc.with_plugins``: it can be asked for its `status`."""

    name = "hrpc-sidecar"

    def __init__(self, base_url: str = place.DEFAULT_BASE_URL, **settings: Unpack[SidecarOptions]) -> None:
        """As `with_sidecar`."""
        self._settings = SidecarSettings(base_url, **settings)
        self._agent: Agent | None = None
        self._failed = asyncio.Event()
        self._told: set[str] = set()
        self.options = () if self._settings.beside_consul else (hrpc.Option(OPTION, {"registers": False}),)
        self.debug_pages = {"sidecar": self._report}

    def status(self) -> Status:
        """How the service stands with the agent; with workers, their master knows it. Empty before the start."""
        return Status() if self._agent is None else self._agent.status()

    @asynccontextmanager
    async def announce(self, server: Announced) -> AsyncIterator[None]:
        """Keeps the service registered; at the end has the agent drain it. It is deregistered after the last call."""
        self._failed = asyncio.Event()
        self._told.clear()
        settings = self._settings
        client = RotatingClient(settings.base_url, settings.request_timeout, server.grace)
        agent = self._agent = Agent(
            self._options(server),
            client=client,
            services=server.methods,
            on_error=self._tell,
            on_registered=self._registered,
            base_url=settings.base_url,
            watch_url=settings.watch_url,
            request_timeout=settings.request_timeout,
            reconnect_interval=settings.reconnect_interval,
            idle_limit=settings.idle_limit,
        )
        self._measure()
        # Also when the start fails: a request that timed out may have been carried out.
        server.when_drained(agent.deregister)
        server.when_maintained(partial(_maintained, agent, client))
        async with agent.watching():
            await self._begin(agent)
            with provide(slot, agent):
                yield
        # Nothing registers the service any more, so that no drain and no deregistering is undone.
        if agent.status().register_replay_count and server.drain_delay + server.grace:
            await self._drain(agent, server.drain_delay + server.grace)

    def _options(self, server: Announced) -> ServiceOptions:
        settings = self._settings
        return ServiceOptions(
            app=App(
                id=settings.app_id or server.name,
                name=server.name,
                instance_id=server.id,
                env=server.environment,
                # Agents refuse a service that has none.
                version=server.version or "unknown",
            ),
            service=Service(
                name=server.name,
                port=server.port,
                weight=server.weight,
                namespace=settings.namespace,
                type=settings.type,
                cluster_domain=settings.cluster_domain,
            ),
            managed_port=server.health_port or 0,
        )

    async def _begin(self, agent: Agent) -> None:
        registered = asyncio.create_task(agent.controller.registered())
        failed = asyncio.create_task(self._failed.wait())
        limit = self._settings.request_timeout
        waits: list[asyncio.Future[Any]] = [registered] if self._settings.fail_fast else [registered, failed]
        try:
            await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            registered.cancel()
            failed.cancel()
        if agent.status().registered:
            return
        where = self._settings.base_url
        if self._settings.fail_fast:
            why = agent.controller.error or "it has sent no event"
            raise SidecarError(f"the sidecar-agent at {where} has not taken the registration within {limit:g} s: {why}")
        logger.warning("sidecar-agent: {!r} is registered when the one at {} takes it", agent.node.name, where)

    def _registered(self) -> None:
        assert self._agent is not None
        count = self._agent.status().register_replay_count
        if count == 1 or self._told:
            again = " again" if count > 1 else ""
            logger.info("registered{} with the sidecar-agent as {}", again, self._agent.node.options.app.instance_id)
        self._told.clear()

    def _tell(self, error: Exception) -> None:
        self._failed.set()
        kind = error_kind(error)
        if kind not in self._told:
            # Once for each outage: it is tried again every second.
            self._told.add(kind)
            logger.error("sidecar-agent: the service may be missing there, it is tried again and again: {}", error)
        if self._settings.on_error is not None:
            self._settings.on_error(error)

    async def _drain(self, agent: Agent, grace_period: float) -> None:
        try:
            await agent.controller.drain(grace_period)
        except SidecarError as error:
            logger.error("sidecar-agent: callers are not told that the service drains: {}", error)

    def _measure(self) -> None:
        metrics.register_gauge(
            "sidecar_registered",
            "1 when the sidecar-agent has taken the registration, else 0.",
            workers="max",
            read=lambda: float(self.status().registered),
        )
        for name, help, field in (
            ("sidecar_disconnects", "Ends of the stream of the sidecar-agent's events.", "disconnect_count"),
            ("sidecar_registrations", "Registrations that it has taken.", "register_replay_count"),
            ("sidecar_refusals", "Registrations that it has not taken.", "register_replay_failure_count"),
        ):
            metrics.register_counter(name, help, read=partial(self._count, field))

    def _count(self, field: str) -> float:
        return float(getattr(self.status(), field))

    async def _report(self, _: Mapping[str, str]) -> Mapping[str, Any]:
        if hrpc.worker() is not None:
            return {"note": "the master of this worker is registered with the sidecar-agent"}
        return {"watch_url": self._settings.watch_url, **self.status().as_dict()}


async def _maintained(agent: Agent, client: RotatingClient, reason: str | None) -> None:
    try:
        await client.rotate(agent.node, out=reason is not None)
    except SidecarError as error:
        if agent.status().registered:
            raise
        logger.warning("sidecar-agent: it is told with the next registration: {}", error)


slot = Slot[Agent]("hrpc-sidecar", "hrpc_sidecar.with_sidecar()")


def status() -> Status:
    """How the server of this event loop stands with its agent.

    Raises `hrpc.errors.NotRunning` where none is registered; so in workers, of which the master is.
    """
    return slot.get().status()
