"""The option for plugins."""

from __future__ import annotations

from hrpc.abc import Plugin
from hrpc.errors import OptionError
from hrpc.option.settings import Option


def with_plugins(*plugins: Plugin) -> Option:
    """Plugins to load: in this order, after Consul and before the databases, and unloaded in reverse.

    Each is an `hrpc.abc.Plugin`, after all those on which it depends.
    """
    option, names = "hrpc.with_plugins", set[str]()
    for plugin in plugins:
        name = getattr(plugin, "name", None)
        if not isinstance(name, str) or not name or not callable(getattr(plugin, "load", None)):
            raise OptionError(f"{option}: takes plugins, with a name and load(), not {plugin!r}")
        if name in names:
            raise OptionError(f"{option}: {name!r} is given twice")
        for needed in getattr(plugin, "depends_on", ()):
            if needed not in names:
                raise OptionError(f"{option}: {name!r} depends on {needed!r}: pass that one as well, before it")
        names.add(name)
    return Option("with_plugins", {"plugins": plugins})
