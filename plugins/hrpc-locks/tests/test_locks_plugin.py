"""Locks in the life of a server: on its databases, in its environment, with its metrics, and until it stops."""

from __future__ import annotations

import asyncio
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from lock_clients import Holder, keys

import hrpc
import hrpc_locks
from hrpc.database import redis
from hrpc.errors import DatabaseUnavailable, NotRunning, OptionError, StartError
from hrpc.testing.servers import RedisServer
from hrpc_locks import LockTimeout, LockUnavailable, RedisLocks
from tests.echo import add_echo, call
from tests.metrics.scraping import samples, value


def a_server(*options: hrpc.Option, **methods: Any) -> hrpc.Server:
    server = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_environment(hrpc.Environment.DEVELOPMENT),
        hrpc.with_graceful_stop(drain_delay=0),
        hrpc.with_metrics(0),
        *options,
    )
    add_echo(server, **methods)
    return server


def at(server: RedisServer, name: str | None = None) -> Any:
    return redis.new(name=name, address=server.host, port=server.port, decode_responses=name is not None)


async def test_handlers_lock_in_their_environment_and_metrics_tell_of_it(redis_server: RedisServer) -> None:
    async def order(request: bytes, _: Any) -> bytes:
        async with hrpc_locks.write("orders/7") as held:
            found = await keys(redis_server, "development:locks:{orders/7}")
            return f"{held.token} {' '.join(found)}".encode()

    server = a_server(hrpc.with_databases(at(redis_server)), hrpc_locks.with_locks(), Order=order)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        answers = [(await call(channel, "Order")).split() for _ in range(3)]
        async with hrpc_locks.read("prices"):
            found = await samples(server)
        async with hrpc_locks.write("a"):
            other = Holder(hrpc_locks.write("a", timeout=0))
            with pytest.raises(LockTimeout):
                await other.task
        again = await samples(server)
    assert [keys for _, *keys in answers] == [[b"development:locks:{orders/7}:holders"]] * 3
    assert sorted(answers) == answers
    assert value(found, "shop_locks_acquired_total", redis="redis") == 4
    assert value(found, "shop_locks_held", redis="redis") == 1
    assert value(found, "shop_locks_waiting", redis="redis") == 0
    assert value(again, "shop_locks_timeouts_total", redis="redis") == 1


@pytest.mark.parametrize("name", [None, "other"])
async def test_a_start_without_the_redis_of_the_locks_fails_and_names_it(
    redis_server: RedisServer, name: str | None
) -> None:
    databases = [] if name is None else [hrpc.with_databases(at(redis_server))]
    with pytest.raises(StartError, match=r"hrpc-locks finds its Redis: .*redis\.new\(") as told:
        async with a_server(*databases, hrpc_locks.with_locks(redis=name)):
            pass
    assert (name or "redis") in str(told.value)


def test_a_database_that_is_no_name_is_refused() -> None:
    with pytest.raises(OptionError, match="redis=3: takes the name of a database"):
        hrpc_locks.with_locks(redis=3)  # type: ignore[arg-type]


async def test_locks_are_on_the_redis_that_is_named(redis_server: RedisServer, own_redis: RedisServer) -> None:
    databases = hrpc.with_databases(at(redis_server), at(own_redis, "locks"))
    async with a_server(databases, hrpc_locks.with_locks(redis="locks", ttl=5, timeout=1)):
        async with hrpc_locks.write("a"):
            async with hrpc_locks.write("a", redis="redis", timeout=0):
                assert await keys(own_redis, "development:locks:{a}")
                assert await keys(redis_server, "development:locks:{a}")
            waiting = Holder(hrpc_locks.write("a", timeout=20))
            impatient = Holder(hrpc_locks.write("a", timeout=0.1))
            with pytest.raises(LockTimeout, match=r"lock 'a': not free within 0\.1 s"):
                await impatient.task
        await waiting.has.wait()
        await waiting.leave()
        with pytest.raises(NotRunning, match="redis 'other'"):
            hrpc_locks.write("a", redis="other")


async def test_a_lock_in_a_handler_that_is_cut_off_at_the_stop_is_given_back(redis_server: RedisServer) -> None:
    begun = asyncio.Event()

    async def hang(request: bytes, _: Any) -> bytes:
        async with hrpc_locks.write("hang"):
            begun.set()
            await asyncio.Event().wait()
        return request

    server = a_server(
        hrpc.with_databases(at(redis_server)),
        hrpc_locks.with_locks(),
        hrpc.with_graceful_stop(grace=0.1, drain_delay=0),
        Hang=hang,
    )
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        calling = asyncio.ensure_future(call(channel, "Hang"))
        await begun.wait()
        await server.stop()
        with pytest.raises(grpc.aio.AioRpcError):
            await calling
    assert not await keys(redis_server, "development:locks:{hang}")


async def test_a_call_whose_lock_cannot_be_had_because_redis_is_away_is_unavailable(own_redis: RedisServer) -> None:
    async def order(request: bytes, _: Any) -> bytes:
        async with hrpc_locks.write("orders/7"):
            return request

    server = a_server(hrpc.with_databases(at(own_redis)), hrpc_locks.with_locks(), Order=order)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        await asyncio.to_thread(own_redis.kill)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Order")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert issubclass(LockUnavailable, DatabaseUnavailable)


async def test_without_a_server_or_the_option_the_error_says_what_to_pass(redis_server: RedisServer) -> None:
    with pytest.raises(NotRunning, match=r"hrpc_locks: no hrpc server is running .* with hrpc_locks\.with_locks\(\)"):
        hrpc_locks.write("a")
    async with a_server(hrpc.with_databases(at(redis_server))):
        with pytest.raises(NotRunning, match=r"pass hrpc_locks\.with_locks\(\) to new_server"):
            hrpc_locks.read("a")
    with pytest.raises(OptionError, match=r"hrpc_locks.with_locks: ttl=0.01: takes seconds, 0\.1 at least"):
        hrpc_locks.with_locks(ttl=0.01)


def test_the_package_offers_itself_as_a_plugin() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["hrpc.plugins"][project["name"]].partition(":")
    assert getattr(import_module(module), name) is RedisLocks
