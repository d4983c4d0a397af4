"""Locks of several processes, as Redis sees them: each has a client and a name of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from hrpc.database import redis
from hrpc.testing.servers import RedisServer
from hrpc_locks import Held, Lock, Locks
from tests.eventually import eventually

TTL = 10.0


@asynccontextmanager
async def opened(
    server: RedisServer, prefix: str, ttl: float = TTL, port: int | None = None, **login: Any
) -> AsyncIterator[Locks]:
    """The locks of one process."""
    recipe = redis.new(address=server.host, port=port or server.port, read_timeout=5.0, connect_timeout=5.0, **login)
    async with recipe.open(None) as pool:
        client: Any = pool.client
        async with Locks(client, prefix=prefix, ttl=ttl, listening=client.blocking_client) as locks:
            yield locks


async def keys(server: RedisServer, prefix: str, *, with_tokens: bool = False) -> list[str]:
    """The keys that are there, less those of tokens and of who has left, which hold up nobody."""
    async with Redis(host=server.host, port=server.port, decode_responses=True) as client:
        found = await client.keys(f"{prefix}:*")
    return sorted(key for key in found if with_tokens or not key.endswith((":token", ":left")))


async def nothing_is_left(server: RedisServer, prefix: str) -> None:
    """Waits until nobody holds or waits for a lock."""

    async def look() -> bool:
        return not await keys(server, prefix)

    await eventually(look)


class Holder:
    """A task that takes a lock, and holds it until it is told to leave."""

    def __init__(self, lock: Lock) -> None:
        self.has = asyncio.Event()
        self.leaves = asyncio.Event()
        self.held: Held | None = None
        self.task = asyncio.create_task(self._hold(lock))

    async def leave(self) -> None:
        """It leaves, and is gone."""
        self.leaves.set()
        await self.task

    async def _hold(self, lock: Lock) -> None:
        async with lock as self.held:
            self.has.set()
            await self.leaves.wait()


async def renewed(locks: Locks) -> None:
    """What is held is renewed at once, and not after a third of its time."""
    for held in tuple(locks._held.values()):
        await locks._renew(held)


async def waits(locks: Locks, count: int = 1) -> None:
    """Waits until so many are in line, of all processes."""
    client: Any = locks._client

    async def look() -> bool:
        found = [await client.zcard(key) for key in await client.keys(f"{locks._prefix}:locks:*:waiting")]
        return sum(found) == count

    await eventually(look)


async def asked_by(server: RedisServer, work: Awaitable[object]) -> list[str]:
    """The names of the commands that Redis is sent meanwhile, as its MONITOR tells, without those of scripts."""
    found = []
    async with Redis(host=server.host, port=server.port) as client, client.monitor() as monitor:
        async with Redis(host=server.host, port=server.port) as other:
            await work
            await other.echo("that was all")
        while True:
            told = await monitor.next_command()
            if told["command"] == "ECHO that was all":
                return [command for command in found if command not in ("CLIENT", "HELLO", "SELECT")]
            if told["client_type"] != "lua":
                found.append(told["command"].partition(" ")[0].upper())
