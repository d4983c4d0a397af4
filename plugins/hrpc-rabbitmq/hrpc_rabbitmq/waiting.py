"""How many messages wait in the queues of a service: for a handler, for another attempt, among the dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractConnection

from hrpc import metrics
from hrpc_rabbitmq import errors
from hrpc_rabbitmq.link import Link
from hrpc_rabbitmq.subscription import RabbitSubscription
from hrpc_rabbitmq.topology import declared

_WAITING = "queue_waiting"
_EVERY = 10.0
"""Seconds between two questions."""


@asynccontextmanager
async def measured(name: str, link: Link, subscriptions: Sequence[RabbitSubscription]) -> AsyncIterator[None]:
    """Measures while the context lasts. `name` is that of the message queue."""
    metrics.register_gauge(
        _WAITING, "Messages that wait in a queue, and have not been delivered.", ("queue", "topic"), workers="max"
    )
    topics = {topic for subscription in subscriptions for topic, _ in declared(subscription)}

    async def follow() -> None:
        while True:
            try:
                async with asyncio.timeout(_EVERY):
                    await _tell(name, await link.connection(), topics)
            except errors.FAILURES as error:
                # Of a broker that is away, and of queues that are missing, others tell.
                errors.pass_cancel(error)
            await asyncio.sleep(_EVERY)

    following = asyncio.create_task(follow(), name=f"hrpc_rabbitmq: {name}: waiting")
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait({following})


async def _tell(name: str, connection: AbstractConnection, topics: set[str]) -> None:
    with errors.cancellable():
        async with connection.channel(publisher_confirms=False) as channel:
            for topic in sorted(topics):
                queue = await channel.declare_queue(topic, durable=True, passive=True)
                metrics.set(_WAITING, queue.declaration_result.message_count or 0, queue=name, topic=topic)
