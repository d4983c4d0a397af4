"""What makes an object a plugin. Each check says which plugin is wrong, and how it has to be."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from hrpc.abc import PLUGIN_API_VERSION, Plugin
from hrpc.errors import PluginError
from hrpc.option.settings import Option

_MAPPINGS = {"health_checks": "functions", "debug_pages": "functions", "commands": "texts"}


def checked(told: str, plugin: Any) -> Plugin:
    """The object, if it is a plugin of this version of hrpc. `told` is what gave it. Raises `PluginError`."""
    if isinstance(plugin, type):
        raise PluginError(f"{told}: {plugin.__name__} is a class: pass an object of it, {plugin.__name__}(…)")
    if isinstance(plugin, Option):
        raise PluginError(f"{told}: {plugin.name}(…) is an option: pass it to new_server itself")
    name, load = getattr(plugin, "name", None), getattr(plugin, "load", None)
    if not isinstance(name, str) or not name or not name.isprintable():
        raise PluginError(f"{told}: {plugin!r} is no plugin: it needs a name, printable text; it has {name!r}")
    if not callable(load):
        raise PluginError(f"{told}: {name!r} is no plugin: it needs load(), which gives an async context manager")
    check_version(told, name, getattr(plugin, "api_version", 1))
    _check_dependencies(told, name, getattr(plugin, "depends_on", ()))
    for hook in ("load", "announce"):
        _check_manager(told, name, hook, getattr(plugin, hook, None))
    for mapping, values in _MAPPINGS.items():
        found = getattr(plugin, mapping, {})
        fits = callable if values == "functions" else _is_text
        if not isinstance(found, Mapping) or not all(_is_text(key) and fits(found[key]) for key in found):
            raise PluginError(f"{told}: {name!r} has {mapping}={found!r}; it takes a mapping of names to {values}")
    return plugin  # type: ignore[no-any-return]


def manager(plugin: Plugin, hook: str, made: Any) -> Any:
    """What a hook gave, if it is an async context manager. Raises `PluginError`."""
    if hasattr(made, "__aenter__") and hasattr(made, "__aexit__"):
        return made
    if inspect.iscoroutine(made):
        made.close()  # nobody awaits it
    raise PluginError(_no_manager(f"plugin {plugin.name!r}", hook, f"gave {made!r}"))


def in_a_line(error: BaseException) -> str:
    """What somebody else's error says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def check_version(told: str, name: str, version: object) -> None:
    """Raises `PluginError` when a plugin is made for another hrpc than this one."""
    if version == PLUGIN_API_VERSION:
        return
    raise PluginError(
        f"{told}: {name!r} is made for version {version!r} of hrpc's plugin API, and this hrpc has version "
        f"{PLUGIN_API_VERSION}: install a version of the plugin, or of hrpc, that fits the other"
    )


def _check_dependencies(told: str, name: str, names: Any) -> None:
    if isinstance(names, str) or not isinstance(names, Collection) or not all(map(_is_text, names)):
        raise PluginError(f"{told}: {name!r} has depends_on={names!r}; it takes a list of the names of plugins")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _check_manager(told: str, name: str, hook: str, function: Any) -> None:
    if function is not None and not callable(function):
        raise PluginError(f"{told}: {name!r} has {hook}={function!r}; it takes a method")
    for kind, is_kind in (
        ("an async function", inspect.iscoroutinefunction),
        ("an async generator", inspect.isasyncgenfunction),
        ("a generator", inspect.isgeneratorfunction),
    ):
        if is_kind(function):
            raise PluginError(_no_manager(f"{told}: {name!r}", hook, f"is {kind}"))


def _no_manager(told: str, hook: str, found: str) -> str:
    return (
        f"{told}: {hook}() {found}, and has to give an async context manager: make it `async def {hook}(…)` with one "
        "`yield`, under @contextlib.asynccontextmanager"
    )
