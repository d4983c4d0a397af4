"""A service with Kafka for tests, and what is read from a topic beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

import hrpc
import hrpc_kafka as kafka
from hrpc.queues import Recipe, Retry
from tests.server.recorded import LOCAL

AT_ONCE = Retry(attempts=3, base=0.0)


def a_service(recipe: Recipe[Any], *options: hrpc.Option) -> hrpc.Server:
    return hrpc.new_server(
        hrpc.with_server_name("billing"), LOCAL, hrpc.with_message_queues(recipe), hrpc.with_ping(), *options
    )


def local(cluster: Any, *subscriptions: kafka.KafkaSubscription, **settings: Any) -> Recipe[Any]:
    return kafka.new(*subscriptions, brokers=cluster.address, **{"session_timeout": 1.5, **settings})


_leader = CoordinatorGroupRebalance._on_join_leader


async def leader_that_waits(self: Any, response: Any) -> Any:
    """In the place of what the leader of a group does. The mock cluster takes a group for complete when its leader has
    said who gets what, and refuses what other members then still ask. A real broker lets them ask afterwards."""
    await asyncio.sleep(0.1)
    return await _leader(self, response)


@asynccontextmanager
async def reading(cluster: Any, *topics: str, group: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=cluster.address,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def first(cluster: Any, topic: str, count: int = 1) -> list[ConsumerRecord]:
    """The first messages of a topic."""
    async with asyncio.timeout(30), reading(cluster, topic) as consumer:
        return [await consumer.getone() for _ in range(count)]


class Seen:
    """A handler that writes down what it gets; `until` waits for some."""

    def __init__(self, then: Callable[[Any], None] = lambda message: None) -> None:
        self.bodies: list[bytes] = []
        self.messages: list[Any] = []
        self._then = then
        self._changed = asyncio.Event()

    async def __call__(self, message: Any) -> None:
        self.take(message)

    def take(self, message: Any) -> None:
        self.bodies.append(message.body)
        self.messages.append(message)
        self._changed.set()
        self._then(message)

    async def until(self, look: Callable[[Seen], bool], limit: float = 60.0) -> None:
        async with asyncio.timeout(limit):
            while not look(self):
                self._changed.clear()
                await self._changed.wait()
