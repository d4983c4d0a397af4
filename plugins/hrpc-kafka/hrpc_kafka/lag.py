"""How far a group is behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from hrpc import metrics
from hrpc.queues import Subscription
from hrpc_kafka.partition import Partition

_LAG = "queue_lag"
_EVERY = 10.0
"""Seconds between two questions for the ends of the partitions."""


@asynccontextmanager
async def measured(
    name: str,
    subscription: Subscription,
    consumer: AIOKafkaConsumer[bytes, bytes],
    partitions: Mapping[TopicPartition, Partition],
) -> AsyncIterator[None]:
    """Measures while the context lasts; of a partition that is not ours, the lag is 0."""
    metrics.register_gauge(
        _LAG,
        "Messages of a partition that have not been handled yet.",
        ("queue", "topic", "group", "partition"),
        workers="sum",
    )
    told: set[TopicPartition] = set()

    def tell(lags: Mapping[TopicPartition, int]) -> None:
        for place in told - lags.keys():
            _set(name, subscription, place, 0)
        for place, lag in lags.items():
            _set(name, subscription, place, lag)
        told.clear()
        told.update(lags)

    async def follow() -> None:
        while True:
            with suppress(KafkaError, IllegalStateError, TimeoutError):  # of brokers that are away others tell
                tell(await _lags(consumer, partitions))
            await asyncio.sleep(_EVERY)

    following = asyncio.create_task(follow(), name=f"hrpc: lag of {subscription.name}")
    try:
        yield
    finally:
        following.cancel()
        tell({})


async def _lags(
    consumer: AIOKafkaConsumer[bytes, bytes], partitions: Mapping[TopicPartition, Partition]
) -> dict[TopicPartition, int]:
    found: dict[TopicPartition, int] = {}
    ours = consumer.assignment()
    if not ours:
        return found
    ends = await consumer.end_offsets(list(ours))
    for place, end in ends.items():
        partition = partitions.get(place)
        position = None if partition is None else partition.position
        if position is None:
            async with asyncio.timeout(_EVERY):
                position = await consumer.position(place)
        found[place] = max(0, end - position)
    return found


def _set(name: str, subscription: Subscription, place: TopicPartition, lag: int) -> None:
    labels = {"queue": name, "topic": place.topic, "group": subscription.group or "", "partition": place.partition}
    metrics.set(_LAG, lag, **labels)
