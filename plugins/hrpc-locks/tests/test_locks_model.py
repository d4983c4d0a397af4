"""Many tasks of several processes do what they like: nobody is where another must not be, and tokens grow."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import pytest
from lock_clients import nothing_is_left, opened
from redis.asyncio import Redis

from hrpc.testing.servers import RedisServer
from hrpc_locks import Held, LockLost, Locks, LockTimeout, LockUnavailable
from tests.proxy import proxied

PREFIX = "model"


class Room:
    """What a lock guards: who is in it, and the tokens that were seen."""

    def __init__(self) -> None:
        self.readers = 0
        self.writers = 0
        self.writes = 0
        self.reads = 0
        self.last_written = 0
        self.largest_token = 0

    async def read(self, held: Held) -> None:
        assert self.writers == 0
        assert held.token > self.last_written
        self.largest_token = max(self.largest_token, held.token)
        self.readers += 1
        self.reads += 1
        try:
            await asyncio.sleep(random.choice((0, 0, 0.002)))
            assert self.writers == 0
        finally:
            self.readers -= 1

    async def write(self, held: Held) -> None:
        assert self.writers == self.readers == 0
        assert held.token > self.largest_token
        self.largest_token = self.last_written = held.token
        self.writers += 1
        self.writes += 1
        try:
            await asyncio.sleep(random.choice((0, 0, 0.002)))
            assert (self.writers, self.readers) == (1, 0)
        finally:
            self.writers -= 1


async def wander(locks: Locks, rooms: list[Room], times: int) -> None:
    """Goes into rooms, some of them twice at once, and does not always have the patience."""
    for _ in range(times):
        number = random.randrange(len(rooms))
        name, room = f"room-{number}", rooms[number]
        patience = random.choice((0, 0.005, 10, 10, 10))
        try:
            if random.random() < 0.6:
                async with locks.read(name, timeout=patience) as held, locks.read(name):
                    await room.read(held)
            else:
                async with locks.write(name, timeout=patience) as held:
                    await room.write(held)
                    async with locks.read(name) as again:
                        assert again is held
        except LockTimeout:
            pass


async def disturb(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels one after the other, at any moment of what they do."""
    while any(not task.done() for task in tasks):
        await asyncio.sleep(random.uniform(0, 0.01))
        if random.random() < 0.3:
            random.choice(tasks).cancel()


@pytest.mark.parametrize("seed", range(3))
async def test_nobody_is_where_another_must_not_be(own_redis: RedisServer, seed: int) -> None:
    random.seed(seed)
    rooms = [Room() for _ in range(3)]
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(opened(own_redis, PREFIX)) for _ in range(4)]
        tasks = [asyncio.create_task(wander(locks, rooms, 25)) for locks in processes for _ in range(8)]
        disturbing = asyncio.create_task(disturb(tasks))
        done, _ = await asyncio.wait(tasks)
        for task in done:
            assert task.cancelled() or task.exception() is None, task.exception()
        await disturbing
        await nothing_is_left(own_redis, PREFIX)
        assert not any(locks.held or locks.waiting or locks.counts["lost"] for locks in processes)
    assert all(room.writes and room.reads for room in rooms)


async def test_nobody_is_where_another_must_not_be_while_lines_to_redis_are_cut(own_redis: RedisServer) -> None:
    random.seed(7)
    rooms = [Room() for _ in range(2)]
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(own_redis.address))
        ports = (None, proxy.port, proxy.port)
        processes = [await stack.enter_async_context(opened(own_redis, PREFIX, ttl=2.0, port=port)) for port in ports]
        over = asyncio.Event()

        async def go_on(locks: Locks) -> None:
            while not over.is_set():
                with suppress(LockUnavailable, LockLost):
                    await wander(locks, rooms, 5)

        tasks = [asyncio.create_task(go_on(locks)) for locks in processes for _ in range(6)]
        async with Redis(host=own_redis.host, port=own_redis.port) as client:
            for number in range(20):
                await asyncio.sleep(0.05)
                if number % 2:
                    await proxy.cut()
                else:
                    await client.client_kill_filter(_type="normal", skipme=True)
                    await client.client_kill_filter(_type="pubsub")
        over.set()
        await asyncio.gather(*tasks)
        await nothing_is_left(own_redis, PREFIX)
    assert all(room.writes and room.reads for room in rooms)
