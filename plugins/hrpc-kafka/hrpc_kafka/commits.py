"""Committing: one request at a time, with all that has its end by then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from loguru import logger

_PAUSE = 1.0
"""Seconds after which what was not committed is tried again."""


class Commits:
    """What is to be committed; it stays here until it is."""

    def __init__(self, consumer: AIOKafkaConsumer[bytes, bytes], place: str) -> None:
        self._consumer = consumer
        self._place = place
        self._offsets: dict[TopicPartition, int] = {}
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()

    def add(self, place: TopicPartition, offset: int) -> None:
        """All of this partition before `offset` has its end."""
        self._offsets[place] = offset
        self._news.set()

    def look(self) -> None:
        """Something may have changed for what is to be committed."""
        self._news.set()

    def drop(self, place: TopicPartition) -> bool:
        """Others may have this partition: what is not committed by now may not be any more; gives whether that is so of
        anything."""
        return self._offsets.pop(place, None) is not None

    @property
    def is_empty(self) -> bool:
        """Whether all is committed."""
        return not self._offsets

    async def run(self) -> None:
        """Commits whenever there is something, until it is cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._commit()

    async def flush(self, limit: float) -> None:
        """Commits what there is, in at most `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self._commit()
        except TimeoutError:
            logger.warning("{}: not committed within {:g} s", self._place, limit)

    async def settle(self, limit: float, settled: Callable[[], bool]) -> None:
        """Commits at the end of all, in at most `limit` seconds: when the group is just shared anew, as soon as it is
        known what is still ours, which `settled` says."""
        try:
            async with asyncio.timeout(limit):
                await self._commit()
                while not (self.is_empty and settled()):
                    self._news.clear()
                    await self._news.wait()
                    await self._commit()
        except TimeoutError:
            logger.warning("{}: not committed within {:g} s, what was handled comes again", self._place, limit)

    async def _commit(self) -> None:
        async with self._turn:
            ours = self._consumer.assignment()
            offsets = {place: offset for place, offset in self._offsets.items() if place in ours}
            if not offsets:
                return
            try:
                await self._consumer.commit(offsets)
            except (KafkaError, IllegalStateError) as error:
                logger.warning("{}: not committed, and tried again: {}", self._place, error)
                # In a group that is just shared anew, what is still ours is committed when that is known.
                asyncio.get_running_loop().call_later(_PAUSE, self._news.set)
                return
            for place, offset in offsets.items():
                if self._offsets.get(place) == offset:
                    del self._offsets[place]
