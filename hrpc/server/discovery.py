"""Where a server finds other services: in Consul, in a list, or in both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from math import inf

from loguru import logger

from hrpc import configs, service
from hrpc.abc import Discovery
from hrpc.configs.center import Configs
from hrpc.errors import ConsulError
from hrpc.option import Consul
from hrpc.server.parts import Parts
from hrpc.server.snapshot import snapshot_of
from hrpc.service.channels import Channels
from hrpc.service.connections import Connections
from hrpc.service.dialing import Dialer
from hrpc.service.directory import Directory
from hrpc.service.entry import Entry
from hrpc.service.wish import Wish

UPSTREAM_LIMIT = 2.0
"""Seconds that a start waits for the next answer about a service it calls."""


@asynccontextmanager
async def connections(parts: Parts) -> AsyncIterator[None]:
    """Holds the connections to other services, and gives them new certificates on SIGHUP."""
    dialer = Dialer(parts.settings)
    if dialer.files is not None:
        parts.certificates["client"] = dialer.files
    async with Connections(dialer) as parts.connections:
        parts.runtime.restart_hooks.insert(0, parts.connections.renew)
        yield


@asynccontextmanager
async def consul(parts: Parts, given: Consul) -> AsyncIterator[None]:
    """Asks Consul from now on; the configuration center is there with it."""
    from hrpc.consul import connect, slot  # inside the step, whose time is mostly that of this import

    s = parts.settings
    async with connect(given, snapshot_of(s, given)) as parts.consul:
        parts.runtime.values[slot] = parts.consul
        parts.configs = Configs(parts.consul, s.kv_prefix, s.server_name)
        parts.runtime.values[configs.slot] = parts.configs
        yield


@asynccontextmanager
async def discovering(parts: Parts) -> AsyncIterator[None]:
    """Makes the directory of a server with Consul, a list of services, or both; lets go of what is not used."""
    s = parts.settings
    assert parts.connections is not None
    async with _found(parts) as discovery, asyncio.TaskGroup() as tasks:
        channels = Channels(s, parts.connections, parts.outgoing)
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
async def _found(parts: Parts) -> AsyncIterator[Discovery]:
    settings, consul = parts.settings, parts.consul
    if settings.static_services is None:
        assert consul is not None
        yield consul
        return
    from hrpc import static

    async with static.opened(settings.static_services, settings.environment) as listed:
        parts.runtime.restart_hooks.insert(0, listed.renew)
        yield listed if consul is None else static.Preferred(listed, consul)


@asynccontextmanager
async def upstreams_known(parts: Parts) -> AsyncIterator[None]:
    """Waits until something is known of each service of `with_upstreams`, and keeps following them.

    Raises `ConsulError`, unless this start goes on without Consul.
    """
    directory, asked = parts.directory, parts.consul
    assert directory is not None
    patient = asked is not None and asked.patient
    entries = [directory.entry(Wish(name)) for name in parts.settings.upstreams]
    for entry in entries:
        entry.kept = True
        parts.health.tell(f"upstream {entry.name}", partial(_told, entry))
    limit = 0.0 if patient and asked is not None and not asked.reachable else UPSTREAM_LIMIT
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


def _told(entry: Entry) -> str:
    """A detail: were a service unready because another one is away, so would be all that call it, and theirs."""
    if entry.instances:
        return "ok"
    return "no instance passes its checks" if entry.age() < inf else "nothing is known of it yet"
