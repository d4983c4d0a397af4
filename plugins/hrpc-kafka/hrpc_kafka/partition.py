"""One partition that is consumed: what was fetched of it, which message is being handled, and what may be committed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import TypeAlias

from aiokafka import ConsumerRecord, TopicPartition

Record: TypeAlias = "ConsumerRecord[bytes, bytes]"


class Ownership(Enum):
    """Whose a partition is."""

    OURS = "ours"
    LEAVING = "leaving"
    """The group shares its partitions anew: no further message is handled, and what is being handled is waited for."""
    LEFT = "left"
    """Others may have it, and may have gone on with it: nothing of it is committed any more."""


class Partition:
    """The first of its `records` is the one that is handled, or that is to be handled next."""

    def __init__(self, place: TopicPartition) -> None:
        self.place = place
        self.records: deque[Record] = deque()
        self.owner = Ownership.OURS
        self.attempt = 1
        """That of the first record."""
        self.is_offered = False
        """Whether it stands in the line of those that have a message to handle."""
        self.is_paused = False
        """Whether no more is fetched for now."""
        self.handling: asyncio.Future[None] | None = None
        """Done as soon as the first record has its end; None while nobody handles it."""
        self.waiting: asyncio.TimerHandle | None = None
        """Until the first record may be tried again."""
        self._known = -1
        self.position: int | None = None
        """The offset of the first record that has no end yet, as far as it is known."""

    @property
    def has_next(self) -> bool:
        """Whether a message may be handled now."""
        is_free = self.handling is None and self.waiting is None
        return self.owner is Ownership.OURS and is_free and bool(self.records)

    @property
    def is_under_way(self) -> bool:
        """Whether its first record is being handled, or waits to be tried again."""
        return self.handling is not None or self.attempt > 1

    def add(self, records: Iterable[Record]) -> None:
        """More was fetched. After the group has shared its partitions anew this may be what is here already."""
        for record in records:
            if record.offset > self._known:
                # Offsets begin anew when a topic is deleted and created again.
                self._known = -1
                self.records.append(record)
        if self.position is None and self.records:
            self.position = self.records[0].offset

    def end(self) -> int:
        """The first record is done with; gives what to commit, which is the offset of the next one."""
        self.position = self.records.popleft().offset + 1
        self.attempt = 1
        return self.position

    def free(self) -> None:
        """Nobody handles its first record any more."""
        if self.handling is not None and not self.handling.done():
            self.handling.set_result(None)
        self.handling = None

    def leave(self) -> None:
        """It may be another's from now on. What is under way here is kept for the case that it comes back, and what has
        its end is not added again then."""
        self.owner = Ownership.LEFT
        first = self.records[0] if self.is_under_way else None
        self.records = deque(() if first is None else (first,))
        self._known = (self.position or 0) - 1 if first is None else first.offset
        self.is_paused = False

    def forget(self) -> None:
        """Nothing of it is tried again."""
        if self.waiting is not None:
            self.waiting.cancel()
