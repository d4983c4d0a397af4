"""A lock that is lost while it is held: whoever holds it is told, and whoever comes next has a larger token."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lock_clients import Holder, nothing_is_left, opened, renewed, waits
from loguru import logger
from redis.asyncio import Redis

from hrpc.testing.servers import RedisServer
from hrpc_locks import LockLost, LockTimeout, LockUnavailable
from tests.eventually import eventually
from tests.process import running
from tests.proxy import proxied

PREFIX = "loss"


async def test_a_redis_that_is_emptied_is_noticed_and_tokens_go_on_to_grow(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=60) as locks, opened(own_redis, PREFIX, ttl=60) as others:
        holder = Holder(locks.write("a"))
        await holder.has.wait()
        await locks._client.flushall()
        async with others.write("a", timeout=0) as next_one:
            await renewed(locks)
            with pytest.raises(
                LockLost, match="lock 'a': lost while it was held: Redis has it no more: it was emptied"
            ):
                await holder.task
            assert holder.held is not None
            assert holder.held.lost.is_set()
            assert next_one.token > holder.held.token
        assert locks.counts["lost"] == 1
        assert locks.held == 0
        await nothing_is_left(own_redis, PREFIX)


async def test_a_redis_that_is_killed_is_noticed_before_the_lock_is_free(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=1.5) as locks:
        loop = asyncio.get_running_loop()
        holder = Holder(locks.write("a"))
        await holder.has.wait()
        began = loop.time()  # Redis keeps it for 1.5 s from some moment before
        await asyncio.to_thread(own_redis.kill)
        with pytest.raises(LockLost, match=r"it could not be renewed in time: .*(Connect|clos|reset|not answer)"):
            await holder.task
        assert holder.held is not None
        assert holder.held.until < began + 1.5
        with pytest.raises(LockUnavailable, match="lock 'b': Redis does not answer as expected"):
            async with locks.read("b"):
                pass
        await asyncio.to_thread(own_redis.start)
        async with locks.write("a", timeout=30):
            pass


async def test_a_redis_that_is_away_for_a_moment_loses_no_lock(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=20) as locks, opened(own_redis, PREFIX, ttl=20) as others:
        async with locks.write("a") as held:
            waiting = Holder(others.write("a"))
            await waits(locks)
            await asyncio.to_thread(own_redis.stop)
            await asyncio.to_thread(own_redis.start)
            await locks._renew(held)
            held.check()
            assert not waiting.has.is_set()
        await waiting.has.wait()
        assert waiting.held is not None
        assert waiting.held.token > held.token
        await waiting.leave()


async def test_one_who_waits_outlives_a_redis_that_is_killed_and_emptied(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=1.0) as locks, opened(own_redis, PREFIX, ttl=1.0) as others:
        holder = Holder(locks.write("a"))
        await holder.has.wait()
        waiting = Holder(others.write("a"))
        await waits(locks)
        await asyncio.to_thread(own_redis.kill)
        await asyncio.to_thread(own_redis.wipe)
        await asyncio.to_thread(own_redis.start)
        await waiting.has.wait()
        with pytest.raises(LockLost):
            await holder.task
        assert holder.held is not None
        assert waiting.held is not None
        assert waiting.held.token > holder.held.token
        await waiting.leave()


async def test_a_wait_that_ends_while_redis_is_away_says_so(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=2.0) as locks, opened(own_redis, PREFIX, ttl=2.0) as others:
        async with asyncio.timeout(30):
            holder = Holder(locks.write("a"))
            await holder.has.wait()
            waiting = Holder(others.write("a", timeout=2.5))
            await waits(locks)
            await asyncio.to_thread(own_redis.kill)
            with pytest.raises(LockUnavailable, match="lock 'a': Redis does not answer as expected"):
                await waiting.task
            with pytest.raises(LockLost):
                await holder.task


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """A process that stands still."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


async def test_a_redis_that_stands_still_is_noticed(own_redis: RedisServer) -> None:
    if not own_redis.source.startswith("program"):
        pytest.skip("a container's process cannot be stopped from here")
    async with opened(own_redis, PREFIX, ttl=0.9) as locks, opened(own_redis, PREFIX, ttl=30) as others:
        holder = Holder(locks.write("a"))
        await holder.has.wait()
        pid = (await locks._client.info("server"))["process_id"]
        with stopped(pid):
            with pytest.raises(LockLost, match="it could not be renewed in time: "):
                await holder.task
        async with others.write("a", timeout=30) as held:
            assert holder.held is not None
            assert held.token > holder.held.token
        await nothing_is_left(own_redis, PREFIX)


async def test_the_block_is_cancelled_and_told_apart_from_a_cancel_of_others(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=60) as locks:

        async def holds(seconds: float, *, is_lost: bool = False) -> str:
            try:
                async with asyncio.timeout(seconds):
                    async with locks.write("a"), locks.write("a"):
                        if is_lost:
                            await locks._client.flushall()
                            locks._go(renewed(locks))
                        await asyncio.Event().wait()
            except LockLost:
                return "lost"
            return ""

        assert await holds(30, is_lost=True) == "lost"
        both = asyncio.create_task(holds(30))

        async def is_held() -> bool:
            return locks.held == 1

        await eventually(is_held)
        both.cancel()
        with pytest.raises(asyncio.CancelledError):
            await both
        with pytest.raises(TimeoutError):
            await holds(0.05)


async def test_a_cancel_of_others_at_the_same_moment_is_not_swallowed(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=60) as locks:
        holder = Holder(locks.write("a"))
        await holder.has.wait()
        assert holder.held is not None
        await locks._client.flushall()
        await renewed(locks)
        assert holder.held.lost.is_set()
        assert not holder.task.done()
        holder.task.cancel()
        await asyncio.wait({holder.task})
        assert holder.task.cancelled()


async def test_who_waits_misses_nothing_while_nothing_is_heard(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=600) as locks:
        holder = Holder(locks.write("a"))
        await holder.has.wait()
        waiting = Holder(locks.write("a"))
        await waits(locks)

        async def hears() -> bool:
            return locks._waking.hears

        await eventually(hears)
        await locks._client.client_kill_filter(_type="pubsub")
        await holder.leave()
        await waiting.has.wait()
        await waiting.leave()


async def test_where_channels_are_forbidden_who_waits_asks_again_and_again(own_redis: RedisServer) -> None:
    async with Redis(host=own_redis.host, port=own_redis.port) as client:
        await client.acl_setuser(
            "quiet", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"], reset_channels=True
        )
    async with opened(own_redis, PREFIX, ttl=600, username="quiet", password="secret") as locks:
        holder = Holder(locks.write("a"))
        await holder.has.wait()
        waiting = Holder(locks.write("a", timeout=60))
        await waits(locks)
        await holder.leave()
        await waiting.has.wait()
        await waiting.leave()
        assert not locks._waking.hears


async def test_a_block_that_is_not_to_be_cancelled_is_told_and_fails_at_its_end(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=60) as locks:
        has_ended = False
        with pytest.raises(LockLost):
            async with locks.read("a", cancel_when_lost=False) as held:
                await locks._client.flushall()
                await renewed(locks)
                assert held.lost.is_set()
                with pytest.raises(LockLost):
                    held.check()
                with pytest.raises(LockLost):
                    async with locks.read("a"):
                        pass
                has_ended = True
        assert has_ended
        with pytest.raises(ZeroDivisionError):
            async with locks.read("a", cancel_when_lost=False) as held:
                await locks._client.flushall()
                raise ZeroDivisionError


async def test_a_loss_that_shows_when_it_is_given_back_fails_the_block(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX, ttl=60) as locks:
        with pytest.raises(LockLost, match="Redis did not have it any more when it was given back"):
            async with locks.write("a"):
                await locks._client.flushall()


@pytest.mark.parametrize("is_frozen", [False, True])
async def test_a_lock_that_cannot_be_given_back_ends_by_itself(own_redis: RedisServer, is_frozen: bool) -> None:
    said: list[str] = []
    sink = logger.add(said.append, format="{message}")
    async with proxied(own_redis.address) as proxy:
        async with (
            opened(own_redis, PREFIX, ttl=1.5, port=proxy.port) as locks,
            opened(own_redis, PREFIX, ttl=30) as others,
        ):
            async with locks.write("a"):
                if is_frozen:
                    proxy.freeze()
                else:
                    await proxy.refuse()
            async with others.write("a", timeout=30):
                pass
            await proxy.heal()
    logger.remove(sink)
    (warning,) = (line for line in said if line.startswith("lock 'a': could not be given back, and ends by itself: "))
    assert warning.endswith("Redis does not answer\n") == is_frozen


HOLDER = """
import asyncio, sys
from hrpc.database import redis
from hrpc_locks import Locks, LockLost

async def main(port):
    async with redis.new(address="127.0.0.1", port=port).open(None) as pool:
        async with Locks(pool.client, prefix="loss", ttl=2.0) as locks:
            try:
                async with locks.write("a") as held:
                    print("has", held.token, flush=True)
                    while True:
                        await asyncio.sleep(0)
                        held.check()
            except LockLost as error:
                print("raised", error, flush=True)

asyncio.run(main(int(sys.argv[1])))
"""


async def test_a_holder_that_stood_still_is_told_before_it_goes_on(own_redis: RedisServer, tmp_path: Path) -> None:
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    plugin = Path(__file__).parents[1]
    environ = {"PYTHONPATH": os.pathsep.join([os.getcwd(), str(plugin)])}
    async with opened(own_redis, PREFIX) as locks, running(script, environ, str(own_redis.port)) as process:
        token = int((await process.says("has")).split()[1])
        with pytest.raises(LockTimeout):
            async with locks.write("a", timeout=0):
                pass
        with stopped(process.pid):
            async with locks.write("a", timeout=30) as held:
                assert held.token > token
        told = await process.says("raised")
        assert "lock 'a': lost while it was held: it could not be renewed in time" in told
        assert await process.ended() == 0


async def test_one_who_dies_in_line_is_passed_over(own_redis: RedisServer) -> None:
    async with opened(own_redis, PREFIX) as locks, opened(own_redis, PREFIX) as others:
        async with Redis(host=own_redis.host, port=own_redis.port) as client:
            holder = Holder(locks.write("a"))
            await holder.has.wait()
            now, _ = await client.time()
            dead = "w:somebody else:1"
            await client.zadd(f"{PREFIX}:locks:{{a}}:writers", {dead: 1})
            await client.zadd(f"{PREFIX}:locks:{{a}}:waiting", {dead: now * 1000 + 2000})
            waiting = Holder(others.read("a"))
            await waits(locks, 2)
            await holder.leave()
            await waiting.has.wait()
            await waiting.leave()
        await nothing_is_left(own_redis, PREFIX)
