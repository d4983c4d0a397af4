"""A plugin from its loading to its unloading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hrpc import health
from hrpc.abc import Plugin
from hrpc.option.plugin_checks import manager


@asynccontextmanager
async def loaded(plugin: Plugin) -> AsyncIterator[None]:
    """Enters its ``load()``; then readiness asks its checks. Raises `PluginError`, and what ``load()`` raises."""
    async with manager(plugin, "load", plugin.load()):
        for name, check in getattr(plugin, "health_checks", {}).items():
            health.check(name, check)
        yield
