"""The plugins of a server, and what its settings come to with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hrpc.abc import Plugin
from hrpc.errors import PluginError
from hrpc.option import Option, Settings, fold
from hrpc.option.plugin_checks import in_a_line
from hrpc.server.plugins.order import in_order
from hrpc.server.plugins.paths import paths


class Plugins:
    """Finds the plugins that the options of one server ask for."""

    def __init__(self) -> None:
        self._found: dict[str, Plugin] = {}

    def settled(self, options: Sequence[Option], environ: Mapping[str, str] | None = None) -> Settings:
        """The settings, with the plugins in the order of their loading, and with what they bring.

        Raises `OptionError`, also as the `PluginError` that says which plugin is wrong.
        """
        known = [option for option in options if isinstance(option, Option)]  # `fold` refuses what is none
        plugins = in_order([plugin for option in known for plugin in option.added.get("plugins", ())], self._find)
        paths(plugins)
        brought = [option for plugin in plugins for option in _brought(plugin)]
        settings = fold(options, environ, brought=brought)
        return replace(settings, plugins=plugins, announces=any(map(announces, plugins)))

    def _find(self, *path: str) -> Plugin:
        name = path[-1]
        if name not in self._found:
            from hrpc.option import installed  # only where one is not given

            self._found[name] = installed.find(*path)
        return self._found[name]


def announces(plugin: Plugin) -> bool:
    """Whether it may tell others that the server takes calls."""
    hook = getattr(plugin, "announce", None)
    if hook is None:
        return False
    from hrpc import plugin as contract  # only for those who have plugins: a server is made without what runs it

    return getattr(hook, "__func__", hook) is not contract.Plugin.announce


def _brought(plugin: Plugin) -> Iterator[Option]:
    try:
        options = tuple(getattr(plugin, "options", ()))
    except Exception as error:  # of a property of theirs
        raise PluginError(f"plugin {plugin.name!r}: its options raised {in_a_line(error)}") from error
    for option in options:
        if not isinstance(option, Option):
            raise PluginError(f"plugin {plugin.name!r}: its options have {option!r}; they take what hrpc.with_… gives")
        if "plugins" in option.added:
            raise PluginError(f"plugin {plugin.name!r}: its options bring plugins; name them in its depends_on")
        yield option
