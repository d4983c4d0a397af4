"""The option for plugins."""

from __future__ import annotations

from hrpc.abc import Plugin
from hrpc.option.plugin_checks import checked
from hrpc.option.settings import Option


def with_plugins(*plugins: Plugin | str) -> Option:
    """Plugins to load, after Consul and before the databases, and to unload in reverse after these.

    Each is an object, `hrpc.abc.Plugin` says which, or the name of one that is installed. Those on which it depends are
    loaded before it, also when only they are installed and nobody has given them; otherwise the order is the one given.
    Several of this option, and the ``with_…`` options of plugins, add up.

    Raises `PluginError` for what is no plugin of this hrpc, `MissingPlugin` for a name that is not installed; and when
    the server is made, both, and `PluginCycle`.

    ::

        hrpc.with_plugins("hrpc-uniqueid", limits)
    """
    option = "hrpc.with_plugins"
    found = tuple(_installed(each) if isinstance(each, str) else checked(option, each) for each in plugins)
    return Option("with_plugins", {}, {"plugins": found})


def _installed(name: str) -> Plugin:
    from hrpc.option import installed  # only for those who ask by name

    return installed.find(name)
