"""Plugins that announce a server: when they do, what they are told, and what becomes of their failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

import hrpc
from hrpc import listener
from hrpc.errors import ConsulError, StartError, StopError
from hrpc.plugin import Announced
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import call
from tests.server.plugins.recorded import Announcing, Loaded
from tests.server.recorded import a_server


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


async def test_a_plugin_that_is_just_told_of_maintenance_withdraws_after_that() -> None:
    telling, let_go = asyncio.Event(), asyncio.Event()

    class Slow(Maintained):
        async def maintained(self, reason: str | None) -> None:
            telling.set()
            await let_go.wait()
            await super().maintained(reason)

    plugin = Slow("a")
    async with a_server(hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0)) as server:
        entering = asyncio.create_task(server.enter_maintenance("rebuilding"))
        await telling.wait()
        stopping = asyncio.create_task(server.stop())
        for _ in range(50):
            await asyncio.sleep(0)
        let_go.set()
        await asyncio.gather(entering, stopping)
    assert plugin.happened[2:4] == ["a out: rebuilding", "withdraw a"]


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
