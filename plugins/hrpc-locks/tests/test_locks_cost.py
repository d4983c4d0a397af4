"""What a lock asks of Redis: two questions, and one more after Redis has forgotten its scripts."""

from __future__ import annotations

import asyncio

import pytest
from lock_clients import Holder, asked_by, opened, waits

from hrpc.testing.servers import RedisServer
from hrpc_locks import Locks


async def test_a_lock_and_its_end_are_two_round_trips(own_redis: RedisServer) -> None:
    async with opened(own_redis, "cost") as locks:

        async def once(count: int = 1) -> None:
            for _ in range(count):
                async with locks.write("a"), locks.write("a"), locks.read("a"):
                    pass
                async with locks.read("a"), locks.read("a"):
                    pass

        assert await asked_by(own_redis, once()) == ["EVALSHA", "EVAL", "EVALSHA", "EVAL", "EVALSHA", "EVALSHA"]
        assert await asked_by(own_redis, once(10)) == ["EVALSHA"] * 40
        await locks._client.script_flush()
        async with locks.write("a"):
            await locks._client.script_flush()
        assert await asked_by(own_redis, once(10)) == ["EVALSHA", "EVAL", *["EVALSHA"] * 39]


async def test_who_waits_is_told_and_does_not_ask_again_and_again(own_redis: RedisServer) -> None:
    async with opened(own_redis, "cost", ttl=60) as locks, opened(own_redis, "cost", ttl=60) as others:

        async def hand_over(holders: Locks, count: int) -> None:
            line = [Holder(holders.write("a"))]
            await line[0].has.wait()
            line += [Holder(others.write("a")) for _ in range(count)]
            await waits(locks, count)
            for one in line:
                one.leaves.set()
            await asyncio.gather(*(one.task for one in line))

        await hand_over(locks, 1)
        asked = await asked_by(own_redis, hand_over(locks, 10))
        assert asked.count("EVALSHA") == 2 + 3 * 10  # one who waits asks, asks again when it is told, and leaves
        assert {command for command in asked if command != "EVALSHA"} <= {"KEYS", "ZCARD"}  # of this test


async def test_a_lock_whose_task_has_ended_is_not_renewed_for_ever(own_redis: RedisServer) -> None:
    async with opened(own_redis, "cost", ttl=3.0) as locks:
        lock = locks.write("a")
        await asyncio.create_task(lock.__aenter__())
        assert locks.held == 1
        with pytest.raises(RuntimeError, match="lock 'a': it is to be left by the task that has entered it"):
            await lock.__aexit__(None, None, None)
        async with locks.write("a", timeout=2.5):
            assert locks.held == 1


async def test_a_lock_that_is_held_is_renewed(own_redis: RedisServer) -> None:
    async with opened(own_redis, "cost", ttl=4.0) as locks, opened(own_redis, "cost") as others:
        async with locks.write("a") as held:
            async with asyncio.timeout(30):
                until = held.until
                while held.until < until + 1.0:
                    await locks._client.ping()
            assert not held.lost.is_set()
            held.check()
            async with others.read("b", timeout=0):
                pass
        async with others.write("a", timeout=0):
            pass
