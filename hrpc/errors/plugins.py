"""The errors of plugins: which of them cannot be used, and why."""

from __future__ import annotations

from collections.abc import Sequence

from hrpc.errors.root import OptionError


class PluginError(OptionError):
    """A plugin that cannot be used: it is none, is made for another hrpc, or cannot be imported."""


class MissingPlugin(PluginError):
    """A plugin that was asked for by name, or that another one depends on, is neither given nor installed.

    `path` has the names that lead to it, itself last. `code` is that of the Go framework, among its plugins' errors;
    it has nothing to do with the codes of a `CallError`.
    """

    code = 1001

    def __init__(self, path: Sequence[str], installed: Sequence[str] = ()) -> None:
        name = path[-1]
        needed = f", and {_told(path)} needs it" if len(path) > 1 else ""
        there = f"; installed are {', '.join(installed)}" if installed else "; no plugin is installed"
        super().__init__(
            f"plugin {name!r} is neither given nor installed{needed}: pip install {name}, or pass it to "
            f"hrpc.with_plugins{there}"
        )
        self.path = tuple(path)


class PluginCycle(PluginError):
    """Plugins that depend on each other, so that none can be loaded first.

    `path` has their names, where the last one is the first one again. `code` is that of the Go framework, among its
    plugins' errors; it has nothing to do with the codes of a `CallError`.
    """

    code = 1002

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__(
            f"plugins depend on each other in a circle: {_told(path)}; take one out of the depends_on of another"
        )
        self.path = tuple(path)


def _told(path: Sequence[str]) -> str:
    return " → ".join(path)
