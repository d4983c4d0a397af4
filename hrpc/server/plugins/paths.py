"""Where the pages of plugins are on the health port."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hrpc.abc import Plugin, Report
from hrpc.errors import PluginError

_PREFIX = "/debug/"
_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_TAKEN = ("/debug/discovery", "/debug/registration")


def paths(plugins: Sequence[Plugin]) -> dict[str, tuple[Plugin, Report]]:
    """The plugin and the report of each path, such as ``/debug/flags``. Raises `PluginError` for one that cannot be."""
    found: dict[str, tuple[Plugin, Report]] = {}
    for plugin in plugins:
        for name, report in getattr(plugin, "debug_pages", {}).items():
            path = f"{_PREFIX}{name}"
            if not _PATH.fullmatch(name):
                raise PluginError(f"plugin {plugin.name!r}: the debug page {name!r} takes a path such as flags/unused")
            if path in _TAKEN or path in found:
                owner = f"plugin {found[path][0].name!r}" if path in found else "hrpc"
                raise PluginError(f"plugin {plugin.name!r}: {path} is a page of {owner}; its own needs another path")
            found[path] = plugin, report
    return found
