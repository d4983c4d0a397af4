"""What happens when the group shares its partitions anew: nothing is lost, and as little as possible handled twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from loguru import logger

from hrpc_kafka.commits import Commits
from hrpc_kafka.partition import Ownership, Partition

PATIENCE = 10.0
"""Seconds that the group waits for the handlers that run here, before their partitions may go to others."""
_COMMIT_LIMIT = 5.0


class Rebalancing(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Listens for the group. All partitions are taken away at first, and most of them come back."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer[bytes, bytes],
        partitions: dict[TopicPartition, Partition],
        commits: Commits,
        offer: Callable[[Partition], None],
    ) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._commits = commits
        self._offer = offer
        self._closed = asyncio.Event()
        self.unsettled: set[TopicPartition] = set()
        """Those of which something is handled and not committed, when it is not known whether they come back."""

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._closed.set()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Handles no further message of them, waits for those that are being handled, and commits."""
        leaving = [self._partitions[place] for place in revoked if place in self._partitions]
        for partition in leaving:
            partition.owner = Ownership.LEAVING
        running = [partition.handling for partition in leaving if partition.handling is not None]
        if running:
            await self._wait(running)
        await self._commits.flush(_COMMIT_LIMIT)
        for partition in leaving:
            partition.leave()
            if self._commits.drop(partition.place):
                self.unsettled.add(partition.place)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Goes on with what is under way here still, unless others have gone on with it meanwhile."""
        assigned = set(assigned)
        for place in assigned & self._partitions.keys():
            partition = self._partitions[place]
            if partition.owner is not Ownership.LEFT:
                continue
            if await self._is_untouched(partition):
                self._commit_again(partition)
            else:
                self._partitions[place] = _without_first(partition)
        for place in self._partitions.keys() - assigned:
            self._partitions.pop(place).forget()
        for place in assigned & self._partitions.keys():
            self._partitions[place].owner = Ownership.OURS
            self._offer(self._partitions[place])
        self.unsettled.clear()
        self._commits.look()

    async def _wait(self, running: list[asyncio.Future[None]]) -> None:
        closing = asyncio.create_task(self._closed.wait())
        ends = asyncio.create_task(asyncio.wait(running))
        try:
            await asyncio.wait({ends, closing}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not ends.done() and not closing.done():
                logger.warning(
                    "the consumer group shares its partitions anew, and {} messages are still handled here after "
                    "{:g} s: they may be handled elsewhere as well",
                    sum(not one.done() for one in running),
                    PATIENCE,
                )
        finally:
            closing.cancel()
            ends.cancel()

    async def _is_untouched(self, partition: Partition) -> bool:
        """Whether nobody has committed more than what had its end here."""
        if partition.position is None:
            return True
        try:
            committed = await self._consumer.committed(partition.place)
        except (KafkaError, IllegalStateError):
            return False
        return (committed or 0) <= partition.position

    def _commit_again(self, partition: Partition) -> None:
        # The commit before the group was shared anew may have come too late.
        if partition.position is not None and partition.place in self.unsettled:
            self._commits.add(partition.place, partition.position)


def _without_first(partition: Partition) -> Partition:
    partition.forget()
    fresh = Partition(partition.place)
    fresh.add(list(partition.records)[1 if partition.is_under_way else 0 :])
    return fresh
