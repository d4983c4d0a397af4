"""One task that asks for a lock, and waits in line for it."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from hrpc_locks import scripts
from hrpc_locks.errors import LockTimeout, LockUnavailable
from hrpc_locks.held import MARGIN
from hrpc_locks.scripts import Place
from hrpc_locks.waking import Waking

SHARE = 1 / 3
"""The share of its time after which a lock is renewed, and one that waits asks again: two of these may fail."""
_DEAF = 0.5
"""Seconds between two questions where nothing is heard of the others."""
_PAUSE = 0.1
"""Seconds until Redis is asked again when it has not answered, with jitter."""


class Answer(NamedTuple):
    """What Redis has said."""

    token: int
    """0 when another one has the lock."""
    until: float
    """In the time of the event loop: until when it is surely held."""
    pause: float
    """Seconds after which it may be free without a word."""
    holders: int
    ahead: int


class Asking:
    """Asks for one lock under one name."""

    def __init__(self, client: Redis, waking: Waking, place: Place, name: str, me: str, ttl: float) -> None:
        self.place = place
        self.me = me
        self.is_uncertain = False
        """Whether Redis was asked something to which it has not answered: it may do it yet."""
        self.has_waited = False
        self._client = client
        self._waking = waking
        self._name = name
        self._ttl = ttl

    async def lock(self, timeout: float) -> Answer:
        """Waits for the lock. Raises `LockTimeout`, and `LockUnavailable` when Redis is away at first, or at last."""
        heard = self._waking.hears
        woken = self._waking.add(self.me)
        try:
            answer = await self._ask(waits=timeout > 0)
            if answer.token:
                return answer
            if timeout <= 0:
                raise self._not_free(timeout, answer)
            self.has_waited = True
            if not heard:
                woken.set()  # what was told until now was not heard: ask once more
            return await self._in_line(woken, answer, timeout)
        finally:
            self._waking.discard(self.me)

    async def _in_line(self, woken: asyncio.Event, answer: Answer, timeout: float) -> Answer:
        fault: LockUnavailable | None = None
        try:
            async with asyncio.timeout(timeout) as limited:
                if not self._waking.hears:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_DEAF):
                            await self._waking.listen()
                while not answer.token:
                    pause = answer.pause if self._waking.hears else min(answer.pause, _DEAF)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await woken.wait()
                    woken.clear()
                    try:
                        answer, fault = await self._ask(waits=True), None
                    except LockUnavailable as error:
                        fault = error
                        answer = answer._replace(pause=_PAUSE * random.uniform(0.5, 1.0))
                return answer
        except TimeoutError:
            if not limited.expired():
                raise
            raise (fault or self._not_free(timeout, answer)) from None

    async def _ask(self, *, waits: bool) -> Answer:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        self.is_uncertain = True
        try:
            state, found, holders, ahead = await scripts.run(
                self._client, scripts.ACQUIRE, self.place, self.me, self._ttl, waits
            )
        except RedisError as error:
            raise LockUnavailable(f"lock {self._name!r}: Redis does not answer as expected: {error}") from error
        self.is_uncertain = False
        if state < 0:
            raise LockUnavailable(f"lock {self._name!r}: it was given up before it was had")
        if state == 0:
            pause = min(int(found) / 1000, self._ttl * SHARE)
            return Answer(0, 0.0, pause, int(holders), int(ahead))
        until = asked + self._ttl * (1 - MARGIN)
        if loop.time() >= until:
            self.is_uncertain = True
            raise LockUnavailable(f"lock {self._name!r}: Redis has taken longer to answer than the lock lives")
        return Answer(int(found), until, 0.0, 0, 0)

    def _not_free(self, timeout: float, answer: Answer) -> LockTimeout:
        held = "it is held" if answer.holders == 1 else f"{answer.holders} hold it"
        ahead = f", and {answer.ahead} wait before" if answer.ahead else ""
        return LockTimeout(f"lock {self._name!r}: not free within {timeout:g} s: {held}{ahead}")
