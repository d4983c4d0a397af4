"""What is a plugin, and what is refused as none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

import hrpc
from hrpc.errors import PluginError, StartError
from hrpc.plugin import API_VERSION, Plugin
from tests.server.hosting import Scripted
from tests.server.plugins.recorded import Announcing, Loaded
from tests.server.recorded import a_server


async def test_an_object_with_a_name_and_load_is_a_plugin() -> None:
    class Structural:
        name = "a"

        @asynccontextmanager
        async def load(self) -> AsyncIterator[None]:
            yield

    async with a_server(hrpc.with_plugins(Structural())):
        pass
    assert not a_server(hrpc.with_plugins(Structural())).settings.announces


async def test_what_only_the_object_has_and_not_its_class_is_used() -> None:
    announcing, plugin = Announcing("a"), Loaded("b")
    plugin.announce = announcing.announce  # type: ignore[method-assign]
    async with a_server(hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0)):
        assert announcing.happened == ["announce a"]


class Named:
    name = "a"

    def load(self) -> object:
        return None


async def test_load_that_gives_no_context_manager_ends_the_start_and_says_how_it_has_to_be() -> None:
    with pytest.raises(
        StartError, match=r"a: plugin 'a': load\(\) gave None, and has to give an async context manager"
    ):
        async with a_server(hrpc.with_plugins(Named())):  # type: ignore[arg-type]
            pass


class AsyncLoad(Plugin):
    name = "a"

    async def load(self) -> None:  # type: ignore[override]
        pass


class GeneratorLoad(Plugin):
    name = "a"

    async def load(self) -> AsyncIterator[None]:  # type: ignore[override]
        yield


class OfTomorrow(Plugin):
    name = "a"
    api_version = API_VERSION + 1


class OneDependency(Plugin):
    name = "a"
    depends_on = "b"


class NoDependency(Plugin):
    name = "a"
    depends_on = None  # type: ignore[assignment]


class DependenciesOnce(Plugin):
    name = "a"
    depends_on = (name for name in ("b",))  # type: ignore[assignment]


class WrongChecks(Plugin):
    name = "a"
    health_checks = (1,)  # type: ignore[assignment]


class WrongCheck(Plugin):
    name = "a"
    health_checks: Mapping[str, Any] = {"a": True}


class WrongPage(Plugin):
    name = "a"
    debug_pages: Mapping[str, Any] = {"a": {}}


class WrongCommand(Plugin):
    name = "a"
    commands: Mapping[str, Any] = {"a": print}


class Nameless(Plugin):
    pass


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Loaded, "Loaded is a class: pass an object of it"),
        (object(), "it needs a name, printable text; it has None"),
        (Nameless(), "it needs a name, printable text; it has None"),
        (Loaded(""), "it needs a name, printable text; it has ''"),
        (Loaded("a\n"), r"it needs a name, printable text; it has 'a\\n'"),
        (Scripted("a"), "it needs a name"),
        (AsyncLoad(), r"'a': load\(\) is an async function, and has to give an async context manager: make it `async"),
        (GeneratorLoad(), r"'a': load\(\) is an async generator, .*, under @contextlib.asynccontextmanager$"),
        (
            OfTomorrow(),
            "'a' is made for version 2 of hrpc's plugin API, and this hrpc has version 1: install a version",
        ),
        (OneDependency(), "'a' has depends_on='b'; it takes a list of the names of plugins"),
        (NoDependency(), "'a' has depends_on=None; it takes a list of the names of plugins"),
        (DependenciesOnce(), "'a' has depends_on=<generator .*>; it takes a list of the names of plugins"),
        (WrongChecks(), r"'a' has health_checks=\(1,\); it takes a mapping of names to functions"),
        (WrongCheck(), "'a' has health_checks={'a': True}; it takes a mapping of names to functions"),
        (WrongPage(), "'a' has debug_pages={'a': {}}; it takes a mapping of names to functions"),
        (WrongCommand(), "'a' has commands={'a': <built-in function print>}; it takes a mapping of names to texts"),
    ],
)
def test_what_is_no_plugin_is_refused_in_one_line_that_says_why(given: object, says: str) -> None:
    with pytest.raises(PluginError, match=f"^hrpc.with_plugins: .*{says}") as caught:
        hrpc.with_plugins(given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
