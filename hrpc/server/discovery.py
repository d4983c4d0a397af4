"""Where a server finds other services: in Consul, in a list, or in both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from loguru import logger

from hrpc import service
from hrpc.abc import Discovery
from hrpc.errors import ConsulError
from hrpc.option import Settings
from hrpc.server.parts import Parts
from hrpc.service.channels import Channels
from hrpc.service.connections import Connections
from hrpc.service.directory import Directory
from hrpc.service.wish import Wish

if TYPE_CHECKING:
    from hrpc.consul import Client

UPSTREAM_LIMIT = 2.0
"""Seconds that a start waits for the next answer about a service it calls."""


@asynccontextmanager
async def discovering(parts: Parts, connections: Connections) -> AsyncIterator[None]:
    """Makes the directory of a server with Consul, a list of services, or both; lets go of what is not used."""
    s = parts.settings
    async with _found(s, parts.consul) as discovery, asyncio.TaskGroup() as tasks:
        channels = Channels(s, connections, parts.outgoing)
        channels.measure(parts.measures)
        parts.directory = Directory(discovery, channels, s.environment, s.target)
        parts.runtime.values[service.slot] = parts.directory
        tidying = tasks.create_task(parts.directory.keep_tidy(), name="hrpc: services that are not used")
        try:
            yield
        finally:
            channels.end()
            tidying.cancel()


@asynccontextmanager
async def _found(settings: Settings, consul: Discovery | None) -> AsyncIterator[Discovery]:
    if settings.static_services is None:
        assert consul is not None
        yield consul
        return
    from hrpc import static

    async with static.opened(settings.static_services, settings.environment) as listed:
        yield listed if consul is None else static.Preferred(listed, consul)


@asynccontextmanager
async def upstreams_known(
    directory: Directory, names: tuple[str, ...], consul: Client | None = None
) -> AsyncIterator[None]:
    """Waits until something is known of each of these services, and keeps following them.

    Raises `ConsulError`, unless this start goes on without Consul.
    """
    patient = consul is not None and consul.patient
    entries = [directory.entry(Wish(name)) for name in names]
    for entry in entries:
        entry.kept = True
    limit = 0.0 if patient and consul is not None and not consul.reachable else UPSTREAM_LIMIT
    for entry in entries:
        # All are asked at once. The limit is for each after the one before: many may take longer than one.
        try:
            await entry.answered(limit)
        except ConsulError as error:
            if not patient:
                raise
            why = f": {error}" if limit else ""
            limit = 0.0
            logger.warning("upstream {!r}: nothing is known of it until Consul answers{}", entry.name, why)
            continue
        if not entry.instances:
            logger.warning("upstream {!r}: no instance passes its checks yet", entry.name)
    yield
