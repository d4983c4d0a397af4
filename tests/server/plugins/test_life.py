"""Plugins in the life of a server: when they are loaded and announce it, and what they bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc.aio
import pytest

import hrpc
from hrpc import listener
from hrpc.errors import ConsulError, OptionError, PluginError, StartError, StopError
from hrpc.plugin import API_VERSION, Announced, Plugin
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import call
from tests.server.hosting import Scripted
from tests.server.plugins.recorded import Announcing, Loaded
from tests.server.recorded import Recorded, a_server


async def test_plugins_are_loaded_before_the_databases_and_unloaded_in_reverse_after_them() -> None:
    happened: list[str] = []
    plugins = (Loaded("a", "b", happened=happened), Loaded("b", happened=happened))
    async with a_server(hrpc.with_plugins(*plugins), hrpc.with_databases(Recorded(happened))):
        assert happened == ["load b", "load a", "open"]
    assert happened[3:] == ["close", "unload a", "unload b"]


async def test_a_plugin_announces_a_server_that_takes_calls_and_withdraws_before_it_takes_none() -> None:
    happened: list[str] = []

    class Calling(Announcing):
        @asynccontextmanager
        async def announce(self, server: Announced) -> AsyncIterator[None]:
            async with super().announce(server):
                yield
            server.when_drained(lambda: listener.unused("after the drain", "127.0.0.1", server.port, ""))
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                happened.append((await call(channel, "Echo", b"called")).decode())

    plugin = Calling("a", happened=happened)
    own = hrpc.with_registration(version="1.2", weight=3, tags=("blue",), meta={"team": "x"})
    stop = hrpc.with_graceful_stop(drain_delay=0.01, grace=7)
    async with a_server(own, stop, hrpc.with_plugins(plugin), hrpc.with_health_check(0)) as server:
        assert happened == ["load a", "announce a"]
        told = plugin.told
        assert (told.name, told.address, told.port) == ("life", "127.0.0.1", server.port)
        assert (told.health_port, told.environment, told.version) == (server.health_port, "development", "1.2")
        assert (told.tags, told.weight, told.meta["team"]) == (("development", "blue"), 3, "x")
        assert "/test.Echo/Echo" in told.methods
        assert list(told.methods) == sorted(told.methods)
        assert (told.drain_delay, told.grace) == (0.01, 7)
        assert told.id.startswith("life-")
    assert happened[2:] == ["withdraw a", "called", "drained a", "unload a"]


async def test_a_plugin_announces_what_consul_has_as_well(consul: ConsulServer) -> None:
    plugin = Announcing("a")
    at_consul = hrpc.with_consul(hrpc.Consul(address=consul.address))
    async with a_server(at_consul, hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0)):
        entries = await agent.instances(consul.address, "life")
        assert [entry["Service"]["ID"] for entry in entries] == [plugin.told.id]
        assert entries[0]["Service"]["Meta"] == plugin.told.meta


async def test_each_life_is_announced_by_another_id() -> None:
    plugin, ids = Announcing("a"), []
    server = a_server(hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0))
    for _ in range(2):
        async with server:
            ids.append(plugin.told.id)
    assert len(set(ids)) == 2


def test_a_job_loads_plugins_and_announces_nothing() -> None:
    plugin = Announcing("a")

    async def job() -> list[str]:
        return list(plugin.happened)

    assert a_server(hrpc.with_plugins(plugin)).run(job) == ["load a"]
    assert plugin.happened == ["load a", "unload a"]


def test_callers_have_time_to_notice_only_where_the_server_was_announced() -> None:
    assert a_server(hrpc.with_plugins(Announcing("a"))).settings.drain_delay == 1.0
    assert a_server(hrpc.with_plugins(Loaded("a"))).settings.drain_delay == 0.0


class Maintained(Announcing):
    """One that tells others as well when the server is out of rotation."""

    @asynccontextmanager
    async def announce(self, server: Announced) -> AsyncIterator[None]:
        server.when_maintained(self.maintained)
        async with super().announce(server):
            yield

    async def maintained(self, reason: str | None) -> None:
        self.happened.append(f"{self.name} {'in rotation' if reason is None else f'out: {reason}'}")


async def test_a_plugin_that_announces_is_told_of_maintenance_until_it_withdraws() -> None:
    plugin = Maintained("a")
    server = a_server(hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0))

    server.apply(hrpc.with_exit_listeners(server.leave_maintenance))
    async with server:
        await server.leave_maintenance()  # it was in none
        await server.enter_maintenance("rebuilding")
        await server.leave_maintenance()
        await server.enter_maintenance("for good")
    assert plugin.happened == [
        *("load a", "announce a", "a out: rebuilding", "a in rotation", "a out: for good"),
        *("withdraw a", "drained a", "unload a"),
    ]


async def test_a_plugin_that_announces_a_server_in_maintenance_is_told_at_once() -> None:
    plugin = Maintained("a")
    server = a_server(hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0))
    server.apply(hrpc.with_pre_run(lambda: server.enter_maintenance("warming up")))
    async with server:
        assert plugin.happened == ["load a", "announce a", "a out: warming up"]
        await server.leave_maintenance()
        assert plugin.happened[3:] == ["a in rotation"]


async def test_a_plugin_that_cannot_be_told_of_maintenance_is_in_the_log_and_the_others_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Failing(Maintained):
        async def maintained(self, reason: str | None) -> None:
            raise OSError("no way")

    plugins = (Failing("a"), Maintained("b"))
    async with a_server(hrpc.with_plugins(*plugins), hrpc.with_graceful_stop(drain_delay=0)) as server:
        await server.enter_maintenance("rebuilding")
        assert plugins[1].happened == ["load b", "announce b", "b out: rebuilding"]
    assert "plugin 'a' could not be told of maintenance: OSError('no way')" in capsys.readouterr().out


async def test_plugins_are_told_of_maintenance_when_consul_cannot_be(own_consul: ConsulServer) -> None:
    plugin = Maintained("a")
    at_consul = hrpc.with_consul(hrpc.Consul(address=own_consul.address))
    async with a_server(at_consul, hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0)) as server:
        await asyncio.to_thread(own_consul.kill)
        with pytest.raises(ConsulError):
            await server.enter_maintenance("rebuilding")
        assert plugin.happened[-1] == "a out: rebuilding"
        await asyncio.to_thread(own_consul.start)


async def test_a_plugin_may_choose_to_announce_nothing() -> None:
    class Silent(Loaded):
        def announce(self, server: Announced) -> None:
            self.happened.append(f"asked for {server.name}")

    plugin = Silent("a")
    async with a_server(hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0)):
        assert plugin.happened == ["load a", "asked for life"]


async def test_what_fails_after_the_drain_is_told_and_the_rest_goes_on() -> None:
    class Failing(Announcing):
        @asynccontextmanager
        async def announce(self, server: Announced) -> AsyncIterator[None]:
            server.when_drained(lambda: 1 / 0)
            async with super().announce(server):
                server.when_drained(lambda: {}["gone"])
                yield

    plugin = Failing("a")
    with pytest.raises(StopError) as caught:
        async with a_server(hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0)):
            pass
    assert [type(error) for error in caught.value.exceptions] == [KeyError, ZeroDivisionError]
    assert plugin.happened[-2:] == ["drained a", "unload a"]


async def test_a_plugin_that_cannot_announce_keeps_the_server_from_starting_and_is_unloaded() -> None:
    class Failing(Loaded):
        def announce(self, server: Announced) -> None:
            raise ZeroDivisionError

    plugin = Failing("a")
    with pytest.raises(StartError, match=r"^\[step \d+/\d+\] announce by a: ZeroDivisionError\(\)$"):
        async with a_server(hrpc.with_plugins(plugin)):
            pass
    assert plugin.happened == ["load a", "unload a"]


async def test_what_was_announced_before_a_failure_is_withdrawn() -> None:
    class Failing(Loaded):
        def announce(self, server: Announced) -> None:
            raise ZeroDivisionError

    happened: list[str] = []
    plugins = (Announcing("a", happened=happened), Failing("b", happened=happened))
    with pytest.raises(StartError, match="announce by b"):
        async with a_server(hrpc.with_plugins(*plugins)):
            pass
    assert happened == ["load a", "load b", "announce a", "withdraw a", "drained a", "unload b", "unload a"]


async def test_readiness_asks_the_health_checks_of_plugins() -> None:
    class Checked(Loaded):
        well = True
        health_checks = property(lambda self: {"acme": lambda: self.well})

    plugin = Checked("a")
    async with a_server(hrpc.with_plugins(plugin), hrpc.with_health_check(0)) as server:
        url = f"http://127.0.0.1:{server.health_port}/healthx/readiness"
        plugin.well = False
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 503
            assert (await response.json())["parts"]["acme"] == "it says no"


async def test_options_of_plugins_give_way_to_those_of_the_user_and_lists_add_up() -> None:
    happened: list[str] = []

    class Bringing(Loaded):
        options = (
            hrpc.with_health_check(0),
            hrpc.with_graceful_stop(grace=3),
            hrpc.with_services(Scripted("theirs", happened), max_shutdown=40),
            hrpc.with_pre_run(lambda: happened.append("their step")),
        )

    given = (hrpc.with_graceful_stop(grace=4), hrpc.with_services(Scripted("ours", happened)))
    async with a_server(*given, hrpc.with_plugins(Bringing("a", happened=happened))) as server:
        assert server.health_port
        assert server.settings.stop.grace == 4
        assert server.settings.hosted.max_shutdown == 40
        assert happened == ["load a", "their step", "theirs setup", "ours setup", "theirs run", "ours run"]


def test_options_that_cannot_be_read_are_told_with_the_plugin() -> None:
    class Failing(Loaded):
        @property
        def options(self) -> Sequence[hrpc.Option]:  # type: ignore[override]
            raise KeyError("table")

    with pytest.raises(PluginError, match=r"^plugin 'a': its options raised KeyError: 'table'$"):
        a_server(hrpc.with_plugins(Failing("a")))


def test_what_a_plugin_brings_twice_or_as_no_option_is_an_error() -> None:
    class Bringing(Loaded):
        options = (hrpc.with_services(Scripted("one")),)

    with pytest.raises(OptionError, match="two services have the id 'one'"):
        a_server(hrpc.with_services(Scripted("one")), hrpc.with_plugins(Bringing("a")))
    for options, says in (
        ((1,), "plugin 'a': its options have 1; they take what hrpc.with_… gives"),
        ((hrpc.with_plugins(Loaded("b")),), "plugin 'a': its options bring plugins; name them in its depends_on"),
    ):
        Bringing.options = options  # type: ignore[assignment]
        with pytest.raises(PluginError) as caught:
            a_server(hrpc.with_plugins(Bringing("a")))
        assert str(caught.value) == says


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
