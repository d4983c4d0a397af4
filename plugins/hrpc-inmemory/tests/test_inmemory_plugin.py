"""Maps in the life of a server: what is measured of them, what is freed, and how their loads end."""

from __future__ import annotations

import asyncio
import gc
import tomllib
import weakref
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

import hrpc
import hrpc_inmemory
from hrpc.errors import OptionError
from hrpc.testing.servers import RedisServer
from hrpc_inmemory import InMemory, LoadCancelled, Map, timer
from tests.echo import add_echo, call
from tests.eventually import eventually
from tests.metrics.scraping import samples, value


def a_server(*options: hrpc.Option) -> hrpc.Server:
    return hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )


async def test_the_statistics_of_each_map_are_metrics_of_the_server() -> None:
    users: Map[int, str] = Map("users", max_size=10)
    prices: Map[str, float] = Map("prices", max_life=60)

    async def fetch(key: int) -> str:
        return f"user {key}"

    async def read(request: bytes, _: Any) -> bytes:
        return (await users.get_or_load(int(request), fetch)).encode()

    server = a_server(hrpc.with_metrics(0), hrpc_inmemory.with_maps(users, prices))
    add_echo(server, Read=read)
    for life in (1, 2):
        async with server, grpc.aio.insecure_channel(server.address) as channel:
            for number in (1, 1, 2):
                assert await call(channel, "Read", str(number).encode()) == b"user %d" % number
            found = await samples(server)
        assert value(found, "shop_inmemory_loads_total", map="users") == 2
        assert value(found, "shop_inmemory_misses_total", map="users") == 2
        assert value(found, "shop_inmemory_hits_total", map="users") == 3 * life - 2
        assert value(found, "shop_inmemory_entries", map="users") == 2
        assert value(found, "shop_inmemory_entries", map="prices") == 0


async def test_what_is_over_is_freed_although_nobody_uses_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "SPACING", 0.01)

    class Value: ...

    values: Map[str, Value] = Map("values", max_life=0.01, keep_errors=0.01)
    values.set("before", first := Value())
    async with a_server(hrpc_inmemory.with_maps(values)):
        await asyncio.to_thread(values.set, "in a thread", second := Value())
        values.set("long", third := Value(), max_life=3600)
        values.set("short", fourth := Value())
        freed = [weakref.ref(value) for value in (first, second, fourth)]
        kept = weakref.ref(third)
        del first, second, third, fourth

        async def are_freed() -> bool:
            gc.collect()
            return not any(reference() for reference in freed)

        await eventually(are_freed)
        assert kept() is not None


async def test_a_map_of_two_servers_is_freed_while_one_of_them_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "SPACING", 0.01)

    class Value: ...

    values: Map[str, Value] = Map("values", max_life=0.01)
    first = ExitStack()
    first.enter_context(values.swept())
    with values.swept():
        first.close()
        values.set("after", value := Value())
        freed = weakref.ref(value)
        del value

        async def is_freed() -> bool:
            gc.collect()
            return freed() is None

        await eventually(is_freed)


@pytest.mark.parametrize("change", ["none", "set", "delete", "clear"])
async def test_what_still_loads_ends_while_the_databases_are_open(redis_server: RedisServer, change: str) -> None:
    """Also what a change has made out of date."""
    from hrpc.database import redis

    users: Map[int, str] = Map("users")
    begun, ended = asyncio.Event(), asyncio.Event()

    async def fetch(_: int) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            if await redis.valid():
                ended.set()
        return ""

    asking: list[asyncio.Task[str]] = []
    recipe = redis.new(address=redis_server.host, port=redis_server.port)
    async with a_server(hrpc.with_databases(recipe), hrpc_inmemory.with_maps(users)):
        asking.append(asyncio.create_task(users.get_or_load(1, fetch)))
        await begun.wait()
        match change:
            case "set":
                users.set(1, "Eve")
            case "delete":
                users.delete(1)
            case "clear":
                users.clear()
    assert ended.is_set()
    with pytest.raises(LoadCancelled, match="by itself or because the server stops"):
        await asyncio.wait_for(asking[0], 5)


async def test_a_handler_in_a_thread_loads_as_well() -> None:
    users: Map[int, str] = Map("users")

    async def fetch(key: int) -> str:
        return f"user {key}"

    def read(request: bytes, _: Any) -> bytes:
        return hrpc.from_thread.run(users.get_or_load, int(request), fetch).encode()

    server = a_server(hrpc_inmemory.with_maps(users))
    add_echo(server, Read=read)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Read", b"7") == b"user 7"


def test_maps_have_a_name_each() -> None:
    with pytest.raises(OptionError, match="two maps are called 'users'; their metrics need a name for each"):
        hrpc_inmemory.with_maps(Map("users"), Map("prices"), Map("users"))
    with pytest.raises(OptionError, match="takes maps, not 'users'"):
        hrpc_inmemory.with_maps("users")  # type: ignore[arg-type]


def test_the_package_offers_itself_as_a_plugin() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["hrpc.plugins"][project["name"]].partition(":")
    assert getattr(import_module(module), name) is InMemory
