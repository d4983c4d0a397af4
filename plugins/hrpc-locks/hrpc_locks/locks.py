"""Locks on one Redis."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from loguru import logger
from redis.asyncio import Redis
from redis.exceptions import RedisError

from hrpc.pauses import Pauses
from hrpc_locks import checks, scripts
from hrpc_locks.asking import SHARE, Asking
from hrpc_locks.errors import LockTimeout, LockUnavailable, LockUpgrade
from hrpc_locks.held import MARGIN, Held
from hrpc_locks.scripts import Place
from hrpc_locks.waking import Waking

TTL = 10.0
"""Seconds for which a lock is held without being renewed, as in the Go framework."""
TIMEOUT = 30.0
"""Seconds that one waits for a lock who does not say for how long."""
_SETTLING = 1.0
_PAUSE, _TRIES = 0.1, 6
"""Seconds until Redis is asked again to forget a holder; and for how many times the time of a lock."""


class Locks:
    """Read/write locks on a Redis, with names below `prefix`; for one event loop.

    ::

        async with Locks(client, prefix="development") as locks:
            async with locks.write("orders/7") as held:
                ...
    """

    def __init__(
        self, client: Redis, *, prefix: str, ttl: float = TTL, timeout: float = TIMEOUT, listening: Redis | None = None
    ) -> None:
        """`ttl`: seconds after which a lock ends whose holder is gone. `timeout`: how long those wait who do not say.
        `listening` is a client whose reads have no limit; `client` when not given. Raises `OptionError`."""
        where = "hrpc_locks.Locks"
        self.ttl = checks.seconds(where, "ttl", ttl, least=checks.SHORTEST_TTL)
        self.timeout = checks.seconds(where, "timeout", timeout)
        self._client = client
        self._prefix = checks.name(f"{where}: prefix", prefix)
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._held: dict[tuple[asyncio.Task[Any] | None, str], Held] = {}
        self._beside: set[asyncio.Future[None]] = set()
        self._waking = Waking(listening or client, f"{prefix}:locks:wake:{self._process}")
        self._is_closed = False
        self.counts = dict.fromkeys(("acquired", "waited", "timeouts", "lost"), 0)

    def write(self, name: str, *, timeout: float | None = None, cancel_when_lost: bool = True) -> Lock:
        """A lock that one task alone has: see `hrpc_locks.write`."""
        return Lock(self, "w", name, timeout, cancel_when_lost)

    def read(self, name: str, *, timeout: float | None = None, cancel_when_lost: bool = True) -> Lock:
        """A lock that others may have as well, to read: see `hrpc_locks.read`."""
        return Lock(self, "r", name, timeout, cancel_when_lost)

    @property
    def held(self) -> int:
        """How many are held now."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many tasks wait for one, or ask for one, now."""
        return self._waking.waiting

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Gives no lock any more; ends what is done beside, within a second."""
        self._is_closed = True
        await self.settle()
        await self.end()

    async def settle(self) -> None:
        """Waits until Redis has forgotten who has left, for a second at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLING):
                while self._beside:
                    await asyncio.wait(self._beside)

    async def end(self) -> None:
        """Gives no lock any more, and does nothing more beside."""
        self._is_closed = True
        for held in self._held.values():
            held.stop_timers()
        beside = set(self._beside)
        for task in beside:
            task.cancel()
        if beside:
            await asyncio.wait(beside)
        await self._waking.end()

    async def enter(self, mode: str, name: str, timeout: float, cancels: bool) -> Held:
        """The lock, which this task may have already. Raises a `LockError`."""
        owner = asyncio.current_task(), name
        held = self._held.get(owner)
        if held is not None:
            return _entered_again(held, mode)
        if self._is_closed:
            raise LockUnavailable(f"lock {name!r}: no lock is given any more, because the server stops")
        me = f"{mode}:{self._process}:{next(self._numbers)}"
        asking = Asking(self._client, self._waking, Place.of(self._prefix, name), name, me, self.ttl)
        try:
            answer = await asking.lock(timeout)
        except BaseException as error:
            self.counts["timeouts"] += isinstance(error, LockTimeout)
            if asking.has_waited or asking.is_uncertain:
                self._go(self._gone(asking.place, me, is_uncertain=asking.is_uncertain))
            raise
        self.counts["acquired"] += 1
        self.counts["waited"] += asking.has_waited
        held = self._held[owner] = Held(name, asking.place, me, answer.token, answer.until, cancels, self._count_lost)
        self._keep(held)
        return held

    async def leave(self, name: str) -> Held:
        """This task's block of the lock has ended; gives the lock. Raises no error of Redis."""
        owner = asyncio.current_task(), name
        held = self._held.get(owner)
        if held is None:
            raise RuntimeError(
                f"lock {name!r}: it is to be left by the task that has entered it, and this is another one"
            )
        held.depth -= 1
        if held.depth:
            return held
        held.stop_timers()
        del self._held[owner]
        is_done = False
        # For `settle`: this task may be cancelled once more while Redis is told.
        leaving = asyncio.get_running_loop().create_future()
        self._beside.add(leaving)
        try:
            if not held.lost.is_set():
                async with asyncio.timeout(self.ttl * SHARE):
                    had = await scripts.run(self._client, scripts.RELEASE, held.place, held.me, self.ttl)
                is_done = True
                if not had:
                    held.lose("Redis did not have it any more when it was given back")
        except (RedisError, TimeoutError) as error:
            why = str(error) or "Redis does not answer"
            logger.warning("lock {!r}: could not be given back, and ends by itself: {}", name, why)
        finally:
            if not is_done:
                self._go(self._gone(held.place, held.me))
            self._beside.discard(leaving)
            leaving.cancel()
        return held

    def _keep(self, held: Held) -> None:
        """Has it renewed, and taken for lost when that does not happen in time."""
        loop = asyncio.get_running_loop()
        held.stop_timers()
        held.timers = [
            loop.call_later(self.ttl * SHARE, self._renew_soon, held),
            loop.call_at(held.until, self._end, held),
        ]

    def _renew_soon(self, held: Held) -> None:
        if held.is_orphan:
            logger.warning("lock {!r}: given back, because its task has ended without leaving it", held.name)
            held.stop_timers()
            self._held = {owner: one for owner, one in self._held.items() if one is not held}
            self._go(self._gone(held.place, held.me))
            return
        self._go(self._renew(held))

    def _end(self, held: Held) -> None:
        held.lose(f"it could not be renewed in time: {held.fault}")

    async def _renew(self, held: Held) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        try:
            async with asyncio.timeout_at(min(held.until, asked + self.ttl * SHARE)):
                has = await scripts.run(self._client, scripts.RENEW, held.place, held.me, self.ttl)
        except (RedisError, TimeoutError) as error:
            held.fault = str(error) or "Redis does not answer"
            if held.is_open:
                pause = self.ttl * SHARE / 4 * random.uniform(0.5, 1.0)
                held.timers.append(loop.call_later(pause, self._renew_soon, held))
            return
        if not held.is_open:
            return
        if not has:
            held.lose("Redis has it no more: it was emptied, restarted or replaced, or stood still")
            return
        held.until = asked + self.ttl * (1 - MARGIN)
        self._keep(held)

    def _count_lost(self) -> None:
        self.counts["lost"] += 1

    async def _gone(self, place: Place, me: str, *, is_uncertain: bool = False) -> None:
        """Has Redis forget one that has left, also what it was asked last, if that is `is_uncertain`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.ttl * _TRIES
        pauses = Pauses(_PAUSE, self.ttl * SHARE)
        while True:
            try:
                await scripts.run(self._client, scripts.RELEASE, place, me, self.ttl, is_uncertain)
                return
            except RedisError as error:
                if loop.time() > end:
                    logger.warning("a lock that was left could not be given back, and ends by itself: {}", error)
                    return
            await asyncio.sleep(pauses.next())

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)


class Lock:
    """What ``write()`` and ``read()`` give, for ``async with``: it holds the lock for as long as the block lasts."""

    def __init__(self, locks: Locks, mode: str, name: str, timeout: float | None, cancels: bool) -> None:
        where = "hrpc_locks.write" if mode == "w" else "hrpc_locks.read"
        self._locks = locks
        self._mode = mode
        self._name = checks.name(where, name)
        self._timeout = locks.timeout if timeout is None else checks.seconds(where, "timeout", timeout)
        self._cancels = cancels

    async def __aenter__(self) -> Held:
        return await self._locks.enter(self._mode, self._name, self._timeout, self._cancels)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        held = await self._locks.leave(self._name)
        if not held.depth:
            held.left(error)


def _entered_again(held: Held, mode: str) -> Held:
    if held.lost.is_set():
        raise held.error()
    if mode == "w" and not held.writes:
        raise LockUpgrade(
            f"lock {held.name!r}: this task has it to read, and cannot have it to write as well: two that did so would "
            "wait for each other for ever; leave the one before, or write from the beginning"
        )
    held.depth += 1
    return held
