"""A node id on lease: a key in Consul that is locked by a session of this process.

Two things make sure that no id comes twice:

- No two have a node id at a time. A lease is over before its session can be: it counts from the moment before Consul
  was asked, on a clock that goes on while the machine sleeps, and is looked at in every millisecond that has ids. For
  the lock delay after the end of a session, nobody can lock its key, whoever has ended it.
- If two had it, their ids would differ. The key says up to which time ids may have been made: nobody makes later ones
  without writing that there before, and whoever leases the node id next begins after it. So it does not matter what
  clocks say, and how long a process or a machine stood still between two of its steps.

When Consul has lost its data, keys tell nothing; `hrpc_uniqueid.leases` waits then.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from loguru import logger

from hrpc.consul.watch import backoff
from hrpc.errors import ConsulError, HrpcError, UniqueIdError
from hrpc.uniqueid import Generator, Grant
from hrpc.uniqueid.generator import clock
from hrpc_uniqueid.leases import Leases, all_taken, free

MARGIN = 1.0
"""Seconds that a lease is over before its session can be."""
RENEWALS = 3
"""How often a lease is renewed in its time."""
AHEAD = 4.0
"""Times the TTL for which ids are announced in Consul at once, so that not every renewal has to write."""


class Held(NamedTuple):
    """A lease that was taken."""

    node: int
    session: str
    until: int
    """Up to which time, of ids, Consul knows that there may be some."""


class Lease:
    """That of one process."""

    def __init__(
        self,
        leases: Leases,
        server_name: str,
        worker: int | None,
        *,
        generator: Generator | None = None,
        clock: Callable[[], int] = clock,
    ) -> None:
        """`clock` is that of the generator, and as `hrpc.uniqueid.generator.clock`."""
        self.generator = Generator(None) if generator is None else generator
        self._clock = clock
        self._leases = leases
        self._sessions = leases.sessions
        self._server_name = server_name
        self._worker = worker
        self._held: Held | None = None
        self._deadline = 0
        self._why = "no node id is leased yet"
        self._hurry = asyncio.Event()
        self._told = False
        loop = asyncio.get_running_loop()
        self.generator.when_refused = lambda: loop.is_closed() or loop.call_soon_threadsafe(self._hurry.set)

    def check(self) -> None:
        """Raises `UniqueIdError` while no ids are made."""
        if self._held is None:
            raise UniqueIdError(self._why)
        if self._clock() >= self._deadline:
            raise UniqueIdError(f"the lease of node id {self._held.node} was not renewed in time: {self._why}")

    async def take(self) -> None:
        """Leases a node id that nobody has. Raises `ConsulError`, or `UniqueIdError` when all are taken."""
        known = await self._leases.listed()
        began = self._clock()
        session = await self._new_session()
        try:
            for node, index, after in free(known, self.generator.now()):
                if await self._lock(session, node, index, after, began):
                    return
        except BaseException:
            await self._end(session)
            raise
        await self._end(session)
        raise UniqueIdError(all_taken(self._leases, known, self.generator.now()))

    async def step(self) -> None:
        """Renews the lease, or takes another one. Raises as `take`."""
        if self._held is None:
            await self.take()
        else:
            await self._renew(self._held)

    async def keep(self) -> None:
        """Renews the lease in time, or takes another one; until it is cancelled."""
        failures = 0
        while True:
            if failures:
                await asyncio.sleep(backoff(failures - 1))
            else:
                await self._until_due()
            try:
                await self.step()
            except (ConsulError, UniqueIdError) as error:
                self._tell(error)
                failures += 1
            else:
                failures, self._told = 0, False
                if self._held is None:
                    failures = 1  # it was lost just now

    async def give_back(self) -> None:
        """Makes no more ids, and lets others have the node id at once. Raises `ConsulError`."""
        self.generator.revoke("unique ids: the server that had leased the node id has stopped")
        held, self._held = self._held, None
        if held is None:
            return
        value = self._value(self.generator.now())
        await self._sessions.unlock(self._leases.key(held.node), value, held.session)
        await self._sessions.destroy(held.session)

    async def _renew(self, held: Held) -> None:
        began, now = self._clock(), self.generator.now()
        if not await self._sessions.renew(held.session):
            await self._lost(held, "its session has ended in Consul")
            return
        half = now + int(self._leases.ttl * AHEAD * 500)
        until = held.until if held.until > half else self._until(now)
        value = None if until == held.until else self._value(until)
        if not await self._sessions.confirm(self._leases.key(held.node), held.session, value):
            await self._lost(held, f"its key {self._leases.key(held.node)!r} was taken away in Consul")
            return
        self._granted(held._replace(until=until), -1, began)

    async def _lost(self, held: Held, reason: str) -> None:
        """Makes no more ids. Where Consul has lost its data, it may go on, because nobody else has waited yet."""
        self._held, self._why = (
            None,
            f"node id {held.node} is lost: {reason}; another one is leased as soon as it can be",
        )
        self.generator.revoke(f"unique ids: {self._why}")
        logger.error("unique ids: {}", self._why)
        await self._end(held.session)
        began = self._clock()
        session = await self._new_session()
        if self._clock() < self._deadline and await self._lock(session, held.node, None, -1, began):
            return
        await self._end(session)

    async def _lock(self, session: str, node: int, index: int | None, after: int, began: int) -> bool:
        until = self._until(self.generator.now())
        if not await self._sessions.lock(self._leases.key(node), self._value(until), session, index):
            return False
        self._granted(Held(node, session, until), after, began)
        logger.info("unique ids: node id {} is leased", node)
        return True

    def _granted(self, held: Held, after: int, began: int) -> None:
        self._held, self._why = held, "no answer from Consul yet"
        self._deadline = began + int((self._leases.ttl - MARGIN) * 1e9)
        self.generator.grant(Grant(held.node, after, held.until, self._deadline))

    async def _new_session(self) -> str:
        name = f"{self._server_name} on {socket.gethostname()}, unique ids of process {os.getpid()}"
        return await self._sessions.create(name, self._leases.ttl, self._leases.ttl)

    async def _end(self, session: str) -> None:
        try:
            await self._sessions.destroy(session)
        except ConsulError as error:
            logger.debug("unique ids: the session {} ends by itself: {}", session, error)

    async def _until_due(self) -> None:
        # Earlier when an id is refused: the process may have stood still, or the clock been set ahead.
        self._hurry.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._leases.ttl / RENEWALS):
                await self._hurry.wait()

    def _tell(self, error: HrpcError) -> None:
        self._why = str(error)
        if self._told:
            return
        self._told = True
        if self._held is None:
            logger.error("unique ids: there are none, because no node id can be leased: {}", error)
            return
        left = max(0.0, (self._deadline - self._clock()) / 1e9)
        logger.error(
            "unique ids: the lease of node id {} is not renewed, and ends in {:.0f} s: {}", self._held.node, left, error
        )

    def _until(self, now: int) -> int:
        return now + int(self._leases.ttl * AHEAD * 1000)

    def _value(self, until: int) -> bytes:
        holder = {"server": self._server_name, "host": socket.gethostname(), "pid": os.getpid(), "worker": self._worker}
        return json.dumps({"until": until, **holder}).encode()
