"""One message that waits for its end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hrpc.queues import Message, QueueError
from hrpc_kafka.partition import Ownership, Partition, Record

if TYPE_CHECKING:
    from hrpc_kafka.consuming import Deliveries

_LONGEST_REASON = 1000


class Delivered:
    """An `hrpc.queues.Delivery`: the first record of a partition."""

    def __init__(self, deliveries: Deliveries, partition: Partition) -> None:
        self._deliveries = deliveries
        self._partition = partition
        self._record = partition.records[0]
        self._handling = partition.handling = asyncio.get_running_loop().create_future()
        self.message = _message(self._record, partition.attempt)

    async def done(self) -> None:
        """It is committed with the next request, which others may share; nothing waits for that."""
        self._check()
        self._deliveries.ended(self._partition)
        self._free()

    async def retry(self, delay: float) -> None:
        """It stays the first of its partition, and those behind it wait."""
        self._check()
        partition = self._partition
        partition.attempt += 1
        partition.waiting = asyncio.get_running_loop().call_later(delay, self._again)
        partition.free()

    async def bury(self, reason: BaseException | str) -> None:
        """Sends it to the dead letters; when these have it, it is as done."""
        self._check()
        letter = self._deliveries.subscription.dead_letter_of(self.message.topic)
        if letter is not None:
            record = self._record
            headers = [*record.headers, *_why(self.message, record, self._deliveries.subscription.group, reason)]
            await self._deliveries.client.send(letter, record.value, record.key, headers)
            self._check()
        await self.done()

    def _check(self) -> None:
        partition = self._partition
        if partition.handling is not self._handling or partition.owner is Ownership.LEFT:
            if partition.handling is self._handling:
                partition.free()
            raise QueueError(f"{partition.place.topic} {partition.place.partition} belongs to another consumer by now")

    def _again(self) -> None:
        self._partition.waiting = None
        self._deliveries.offer(self._partition)

    def _free(self) -> None:
        self._partition.free()
        self._deliveries.offer(self._partition)


def _message(record: Record, attempt: int) -> Message:
    return Message(
        record.topic,
        record.value or b"",
        record.key,
        {name: (value or b"").decode(errors="replace") for name, value in record.headers},
        attempt,
        f"{record.partition}/{record.offset}",
        record.timestamp / 1000 if record.timestamp >= 0 else None,
        record,
    )


def _why(message: Message, record: Record, group: str | None, reason: BaseException | str) -> list[tuple[str, bytes]]:
    found = {
        "hrpc-dead-reason": str(reason)[:_LONGEST_REASON],
        "hrpc-dead-error": "" if isinstance(reason, str) else type(reason).__qualname__,
        "hrpc-dead-topic": record.topic,
        "hrpc-dead-partition": str(record.partition),
        "hrpc-dead-offset": str(record.offset),
        "hrpc-dead-group": group or "",
        "hrpc-dead-attempts": str(message.attempt),
        "hrpc-dead-at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return [(name, text.encode(errors="replace")) for name, text in found.items() if text]
