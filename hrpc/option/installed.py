"""The plugins that are installed beside hrpc: packages name them in the entry point group ``hrpc.plugins``
(https://packaging.python.org/en/latest/specifications/entry-points/)."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from hrpc.abc import Plugin
from hrpc.errors import MissingPlugin, PluginError
from hrpc.option.plugin_checks import checked, in_a_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "hrpc.plugins"


class Installed(NamedTuple):
    """One entry point: the name of a plugin, and where its class or the function that makes it is."""

    name: str
    package: str
    version: str
    entry: EntryPoint

    def load(self) -> Any:
        """What the entry point names. Raises `PluginError` when it cannot be imported."""
        try:
            return self.entry.load()
        except (Exception, SystemExit) as error:  # it may run anything
            raise PluginError(
                f"plugin {self.name!r} cannot be imported from {self.entry.value!r} of {self.package} {self.version}: "
                f"{in_a_line(error)}; repair or uninstall that package"
            ) from error

    def make(self) -> Plugin:
        """A plugin of it. Raises `PluginError`, also when one cannot be made without arguments."""
        made = self.load()
        if not callable(made):
            raise PluginError(f"{self.told}: {self.entry.value!r} is {made!r}, and has to be a class or a function")
        if needs_arguments(made):
            raise PluginError(
                f"plugin {self.name!r} takes arguments: make it in code, by {self.entry.value.replace(':', '.')}(…), "
                "and pass that to hrpc.with_plugins"
            )
        try:
            plugin = made()
        except (Exception, SystemExit) as error:  # it may run anything
            raise PluginError(f"{self.told}: {self.entry.value}() raised {in_a_line(error)}") from error
        found = checked(self.told, plugin)
        if found.name != self.name:
            raise PluginError(
                f"{self.told}: it makes the plugin {found.name!r}; entry point and plugin need the same name"
            )
        return found

    @property
    def told(self) -> str:
        """What messages call it."""
        return f"plugin {self.name!r} of {self.package} {self.version}"


def all_installed() -> list[Installed]:
    """The entry points of all packages, by name; nothing is imported for it."""
    from importlib.metadata import entry_points  # which takes longer to import than all options

    found = []
    for entry in entry_points(group=GROUP):
        package, version = (entry.dist.name, entry.dist.version) if entry.dist is not None else ("?", "?")
        found.append(Installed(entry.name, package, version, entry))
    return sorted(found)


def find(*path: str) -> Plugin:
    """The installed plugin with the last of these names; those before it are the plugins that led to it.

    Raises `MissingPlugin`, and `PluginError` when it cannot be used.
    """
    everything = all_installed()
    found = [each for each in everything if each.name == path[-1]]
    if not found:
        raise MissingPlugin(path, sorted({each.name for each in everything}))
    if len(found) > 1:
        raise PluginError(
            f"plugin {path[-1]!r} is in {' and in '.join(each.package for each in found)}: uninstall all but one, or "
            "pass an object to hrpc.with_plugins"
        )
    try:
        return found[0].make()
    except PluginError as error:
        if len(path) == 1:
            raise
        raise PluginError(f"{error}; {' → '.join(path)} needs it") from error.__cause__


def needs_arguments(function: Any) -> bool:
    """Whether a class or a function cannot be called without arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:  # built in, without a signature
        return False
    return False
