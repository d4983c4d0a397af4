"""The order in which plugins are loaded: each after those on which it depends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hrpc.abc import Plugin
from hrpc.errors import PluginCycle, PluginError


def in_order(given: Sequence[Plugin], find: Callable[..., Plugin]) -> tuple[Plugin, ...]:
    """The plugins and those they depend on; where that leaves a choice, in the order in which they were given.

    `find` gives those that were not given: it gets their names, after those of the plugins that led to them. Raises
    what it raises, `PluginCycle`, and `PluginError` for two plugins of one name.
    """
    by_name: dict[str, Plugin] = {}
    for plugin in given:
        if plugin.name in by_name:
            raise PluginError(f"plugin {plugin.name!r} is given twice: leave one out, or give them names of their own")
        by_name[plugin.name] = plugin
    found: dict[str, Plugin] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise PluginCycle((*path[path.index(name) :], name))
        if name in found:
            return
        plugin = by_name[name] if name in by_name else find(*path, name)
        for needed in getattr(plugin, "depends_on", ()):
            visit(needed, (*path, name))
        found[name] = plugin

    for plugin in given:
        visit(plugin.name, ())
    return tuple(found.values())
