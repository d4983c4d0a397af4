"""How those who wait learn that it is their turn: one subscription for all of a process."""

from __future__ import annotations

import asyncio
from typing import Any

from loguru import logger
from redis.asyncio import Redis
from redis.exceptions import RedisError

from hrpc.pauses import Pauses

LINGER = 10.0
"""Seconds for which a subscription stays when nobody waits."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
"""Seconds until a lost subscription is made again, with jitter."""


class Waking:
    """The events of those who wait, by who they are. The subscription is there while there are any."""

    def __init__(self, client: Redis, channel: str) -> None:
        """`client` waits without a limit for an answer."""
        self._client = client
        self._channel = channel
        self._events: dict[str, asyncio.Event] = {}
        self._heard = asyncio.Event()
        self._wanted = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._events)

    @property
    def hears(self) -> bool:
        """Whether the subscription is there now."""
        return self._heard.is_set()

    def add(self, me: str) -> asyncio.Event:
        """The event of one who is about to wait."""
        event = self._events[me] = asyncio.Event()
        self._wanted.set()
        return event

    def discard(self, me: str) -> None:
        """One who waits no more."""
        self._events.pop(me, None)
        if not self._events:
            self._wanted.clear()

    async def listen(self) -> None:
        """Waits until the subscription is there; what is told from then on is heard."""
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen(), name=f"{self._channel} listens")
        await self._heard.wait()

    async def end(self) -> None:
        """Ends the subscription."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})

    async def _listen(self) -> None:
        pauses = Pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            await self._wanted.wait()
            try:
                async with self._client.pubsub() as subscription:
                    await subscription.subscribe(self._channel)
                    while await self._hears_more(subscription):
                        pauses.begin_anew()
                continue
            except (RedisError, OSError) as error:
                logger.debug("{}: the subscription is lost, and made again: {}", self._channel, error)
            finally:
                self._heard.clear()
            await asyncio.sleep(pauses.next())

    async def _hears_more(self, subscription: Any) -> bool:
        """Takes one message, if there is one soon; says whether to go on, which is not when nobody waits."""
        message = await subscription.get_message(timeout=LINGER)
        if message is None:
            if not self._events:
                self._heard.clear()
            return bool(self._events)
        if message["type"] == "subscribe":
            self._heard.set()
            for event in self._events.values():  # what was told before was not heard
                event.set()
        elif message["type"] == "message":
            data = message["data"]
            told = self._events.get(data.decode() if isinstance(data, bytes) else data)
            if told is not None:
                told.set()
        return True
