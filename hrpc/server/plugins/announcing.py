"""Plugins that tell others where the server is, as its registration with Consul does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hrpc import life
from hrpc.abc import Plugin
from hrpc.option.plugin_checks import manager
from hrpc.plugin import Announced
from hrpc.server.parts import Parts
from hrpc.server.plugins.rotation import Told
from hrpc.server.registration import own_entry


@asynccontextmanager
async def announced(parts: Parts, plugin: Plugin) -> AsyncIterator[None]:
    """Lets a plugin announce the server while the context lasts. Raises `PluginError`, and what the plugin raises."""
    hook: Any = getattr(plugin, "announce", None)
    when_maintained: list[Told] = []
    made = hook(told(parts, when_maintained))
    if made is None:
        yield
        return
    async with manager(plugin, "announce", made), parts.rotation.announced(plugin.name, when_maintained):
        yield


def told(parts: Parts, when_maintained: list[Told]) -> Announced:
    """What a plugin is told of the server. Raises `OptionError` without an address to give."""
    entry, settings = own_entry(parts), parts.settings
    return Announced(
        id=entry.id,
        name=entry.name,
        address=entry.address,
        port=entry.port,
        health_port=parts.health_port,
        environment=str(settings.environment),
        version=settings.registration.version,
        tags=entry.tags,
        meta=entry.meta,
        weight=entry.weight,
        methods=tuple(sorted(parts.recorder.methods)),
        drain_delay=settings.drain_delay,
        grace=settings.stop.grace,
        when_drained=parts.when_drained.append,
        when_maintained=when_maintained.append,
    )


@asynccontextmanager
async def drained(parts: Parts, errors: list[Exception]) -> AsyncIterator[None]:
    """At its end runs what plugins have asked for, each within the limit of a step; puts what fails into `errors`."""
    try:
        yield
    finally:
        limit = parts.settings.stop.step_limit
        parts.watch.expect("plugins after drain", limit * (1 + len(parts.when_drained)))
        errors += await life.run_all("plugin after drain", parts.when_drained[::-1], limit)
