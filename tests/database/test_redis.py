"""The Redis adapter against a real server."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis import exceptions

from hrpc._runtime import Runtime
from hrpc.abc import PoolStats
from hrpc.database import redis
from hrpc.errors import DatabaseRefused, DatabaseUnavailable, NotRunning, PoolTimeout
from hrpc.testing.servers import RedisServer
from hrpc.testing.servers import redis_server as start_redis
from tests.callers import loaded
from tests.database.conftest import Open
from tests.database.lossy_proxy import answering, proxied


async def refused(**options: Any) -> str:
    """The message with which opening fails; nothing stays open (the run fails on a ResourceWarning)."""
    with pytest.raises((DatabaseRefused, DatabaseUnavailable)) as error:
        async with redis.new(**options).open(None):
            pass
    assert error.value.__cause__ is not None
    return f"{type(error.value).__name__}: {error.value}"


@pytest.mark.parametrize("login", [{}, {"password": "wrong-word"}, {"username": "nobody", "password": "wrong-word"}])
async def test_a_wrong_login(launch: Any, login: dict[str, Any]) -> None:
    """Names the user, the server and what to check; not the password."""
    server = launch(lambda: start_redis(password="right-word"))
    message = await refused(address=server.host, port=server.port, **login)
    user = login.get("username", "default")
    assert message.startswith(f"DatabaseRefused: redis {server.address} db 0: user {user!r} is not let in: ")
    assert message.endswith("; check 'username' and 'password' in redis.new()")
    assert "wrong-word" not in message
    async with redis.new(address=server.host, port=server.port, password="right-word").open(None) as pool:
        await pool.ping()
        assert "right-word" not in repr(pool.client)


async def test_an_unknown_database(redis_server: RedisServer) -> None:
    """Names the number."""
    message = await refused(address=redis_server.host, port=redis_server.port, db=9999)
    assert message.startswith(f"DatabaseRefused: redis {redis_server.address} db 9999: there is no such database: ")
    assert "check 'db' in redis.new()" in message


async def test_a_dead_server_is_an_error_within_about_a_second(free_port: int) -> None:
    """With all retries, and also when nobody answers."""
    async with asyncio.timeout(3.5):
        message = await refused(address="127.0.0.1", port=free_port)
    assert message.startswith(f"DatabaseUnavailable: redis 127.0.0.1:{free_port} db 0: no answer: ")
    async with answering(b"") as port, asyncio.timeout(3.5):  # four attempts would take longer
        message = await refused(address="127.0.0.1", port=port)
    assert "no connection within 1 s (connect_timeout)" in message
    assert (await refused(address="/nowhere.sock", network="unix")).startswith("DatabaseUnavailable: redis /nowhere")


async def test_no_retries_are_zero_or_minus_one_as_keys_of_the_go_framework_have_it(free_port: int) -> None:
    """Each attempt is made once."""
    for retries in (0, -1):
        message = await refused(address="127.0.0.1", port=free_port, max_retries=retries)
        assert message.startswith(f"DatabaseUnavailable: redis 127.0.0.1:{free_port} db 0: no answer: ")


async def test_a_server_of_another_kind() -> None:
    """What does not speak Redis is refused."""
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        message = await refused(address="127.0.0.1", port=port)
    assert message.startswith(f"DatabaseRefused: redis 127.0.0.1:{port} db 0: answers, but not as expected: ")


@pytest.fixture
async def socket_path() -> AsyncIterator[str]:
    """The path of the socket of a Redis that listens on nothing else, with the password "right-word"."""
    program = shutil.which("redis-server")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs the program redis-server")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis.sock"
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--requirepass", "right-word"]
        server = await asyncio.create_subprocess_exec(program, *options, cwd=folder, stdout=asyncio.subprocess.PIPE)
        assert server.stdout is not None
        async for line in server.stdout:
            if b"accept connections" in line:
                break
        yield path
        server.kill()
        await server.communicate()


async def test_a_unix_socket(socket_path: str) -> None:
    """Works as a host does, also where it goes wrong."""
    options: dict[str, Any] = {"address": socket_path, "network": "unix"}
    async with redis.new(**options, password="right-word", db=2).open(None) as pool:
        await pool.ping()
    assert "is not let in" in await refused(**options, password="wrong-word")
    assert "db 9999: there is no such database" in await refused(**options, password="right-word", db=9999)


async def test_commands_and_the_parser(open_redis: Open) -> None:
    """The client is redis-py's own, with hiredis where that is installed."""
    client = (await open_redis(db=3)).client
    await client.set("adapter:key", "🦆")
    assert await client.get("adapter:key") == "🦆".encode()
    assert await (await open_redis(db=3, decode_responses=True)).client.getdel("adapter:key") == "🦆"
    connection = client.connection_pool._available_connections[0]
    assert "Hiredis" in type(connection._parser).__name__


async def test_a_command_whose_answer_was_lost_counts_once(redis_server: RedisServer, open_redis: Open) -> None:
    """A command is never repeated, not even when it never reached the server."""
    direct = (await open_redis()).client
    await direct.delete("adapter:count")
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(redis_server.host, redis_server.port))
        recipe = redis.new(address="127.0.0.1", port=proxy.port)
        pool = await stack.enter_async_context(recipe.open(None))
        client: Any = pool.client
        await client.ping()
        proxy.lose = True
        with pytest.raises(exceptions.ConnectionError) as error:
            await client.incr("adapter:count")
        assert pool.is_unavailable(error.value)
        assert await direct.get("adapter:count") == b"1"
        assert await client.incr("adapter:count") == 2
        proxy.cut = True
        with pytest.raises(exceptions.ConnectionError):
            await client.incr("adapter:count")
        assert await client.incr("adapter:count") == 3


async def test_a_silent_server_ends_a_command_after_read_timeout(redis_server: RedisServer) -> None:
    """And the answer that comes too late does not reach the next command."""
    async with proxied(redis_server.host, redis_server.port) as proxy:
        settings = {"address": "127.0.0.1", "port": proxy.port, "read_timeout": 1.0}
        async with redis.new(**settings).open(None) as pool:  # type: ignore[arg-type]
            client: Any = pool.client
            proxy.mute = True
            with pytest.raises(exceptions.TimeoutError) as error:
                await client.get("adapter:nothing")
            assert pool.is_unavailable(error.value)
            proxy.mute = False
            assert await client.echo("hello") == b"hello"


async def test_errors_of_a_command_are_no_sign_of_a_dead_server(open_redis: Open) -> None:
    """A wrong command is the caller's."""
    pool = await open_redis()
    with pytest.raises(exceptions.ResponseError) as error:
        await pool.client.execute_command("NOSUCH")
    assert not pool.is_unavailable(error.value)
    assert not pool.is_unavailable(exceptions.AuthenticationError("no"))
    assert pool.is_unavailable(exceptions.BusyLoadingError("loading"))


async def test_a_full_pool_is_an_error_after_acquire_timeout(open_redis: Open) -> None:
    """It says the limit and what to do, and is an error of redis-py too."""
    pool = await open_redis(max_open_conns=1, acquire_timeout=0.05)
    holder = asyncio.create_task(pool.client.blpop("adapter:never", timeout=30))
    await asyncio.sleep(0)
    with pytest.raises(PoolTimeout, match=r"within 0.05 s \(acquire_timeout\): all 1 are in use") as error:
        await pool.client.get("adapter:key")
    assert isinstance(error.value, exceptions.ConnectionError)
    assert pool.stats() == PoolStats(used=1, idle=0, waiting=0)
    await pool.ping()
    holder.cancel()
    await asyncio.wait({holder})
    assert pool.stats().used == 0
    await pool.client.get("adapter:key")
    assert pool.stats() == PoolStats(used=0, idle=1, waiting=0)


async def test_waiters_go_on_when_another_is_cancelled_in_its_turn(open_redis: Open) -> None:
    """A waiter that is cancelled in the moment it is woken passes the connection on."""
    pool = await open_redis(max_open_conns=1, acquire_timeout=30)
    holder = asyncio.create_task(pool.client.blpop("adapter:never", timeout=30))
    await asyncio.sleep(0)
    unlucky = asyncio.create_task(pool.client.get("adapter:key"))
    lucky = asyncio.create_task(pool.client.echo("lucky"))
    await asyncio.sleep(0)
    assert pool.stats().waiting == 2
    holder.cancel()
    await asyncio.wait({holder})
    unlucky.cancel()
    assert await lucky == b"lucky"
    await asyncio.wait({unlucky})
    assert unlucky.cancelled()


async def test_cancelled_commands_never_shift_the_answers(open_redis: Open) -> None:
    """2,000 commands over 8 connections, each cancelled at a random moment or not at all."""
    pool = await open_redis(max_open_conns=8, acquire_timeout=60, connect_timeout=60, read_timeout=60)
    dice, loop = random.Random(20), asyncio.get_running_loop()

    async def call(number: int) -> None:
        assert await pool.client.echo(f"{number}") == f"{number}".encode()

    tasks = [asyncio.create_task(call(number)) for number in range(2000)]
    for task in tasks:
        if dice.random() < 0.7:
            loop.call_later(dice.uniform(0, 0.3), task.cancel)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError}
    assert ends.count(None) > 500
    assert (pool.stats().used, pool.stats().waiting) == (0, 0)
    async with asyncio.timeout(20):
        assert await asyncio.gather(*(pool.client.echo("x") for _ in range(100))) == [b"x"] * 100


async def test_a_killed_server_fails_commands_until_it_is_back(own_redis: RedisServer) -> None:
    """Under load: no command hangs, each failure says that the server is away, and all is well after the restart."""
    async with redis.new(address=own_redis.host, port=own_redis.port, max_open_conns=4).open(None) as pool:
        client: Any = pool.client
        failures = (exceptions.ConnectionError, exceptions.TimeoutError)
        async with loaded(lambda: client.incr("adapter:count"), failures, callers=12) as load:
            await load.reach(succeeded=200)
            own_redis.kill()
            await load.reach(failed=20)
            with pytest.raises(DatabaseUnavailable):
                await pool.ping()
            await asyncio.to_thread(own_redis.start)
            await load.reach(succeeded=200)
        assert (pool.stats().used, pool.stats().waiting) == (0, 0)
        assert int(await client.get("adapter:count")) <= load.succeeded + load.failed


async def test_a_blocking_command_may_take_longer_than_read_timeout(open_redis: Open) -> None:
    """`blocking` waits as long as the command asks for, on connections of its own."""
    pool, runtime = await open_redis(max_open_conns=1, read_timeout=0.5), Runtime("orders")
    with runtime.attached(), runtime.provide(redis.new(address="x").slot, pool.client):
        assert await redis.valid()
        assert redis.get() is pool.client
        assert await redis.blocking().blpop("adapter:never", timeout=0.7) is None
        with pytest.raises(exceptions.TimeoutError):
            await redis.get().blpop("adapter:never", timeout=30)
    with pytest.raises(NotRunning, match=r"with_databases\(redis\.new\(\)\)"):
        redis.get()


async def test_closing_ends_what_runs_and_refuses_the_rest(redis_server: RedisServer) -> None:
    """A command that runs, one that waits and one that comes later end with an error."""
    recipe = redis.new(address=redis_server.host, port=redis_server.port, max_open_conns=1)
    async with recipe.open(None) as pool:
        client: Any = pool.client
        running = asyncio.create_task(client.blpop("adapter:never", timeout=30))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(client.get("adapter:key"))
        await asyncio.sleep(0)
    for task in (running, waiting, asyncio.create_task(client.get("adapter:key"))):
        with pytest.raises((exceptions.ConnectionError, exceptions.TimeoutError)):
            await task
