"""The message queues that are open, and the consumers of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from hrpc._runtime import Runtime
from hrpc.abc import MessageQueue, StoredSettings
from hrpc.configs.center import Configs
from hrpc.errors import QueueUnavailable
from hrpc.health.state import Health
from hrpc.option import Settings

if TYPE_CHECKING:
    from hrpc.queues import Broker, Subscription
    from hrpc.queues.consumer import Consumer


class Queues:
    """Opens message queues, and knows of all that are open what health and failing calls ask."""

    def __init__(self, settings: Settings, runtime: Runtime, health: Health) -> None:
        self._runtime = runtime
        self._health = health
        self._open: dict[str, Broker] = {}
        limit = settings.hosted.max_shutdown
        self.consumers = tuple(
            self._consumer(queue.name, subscription, limit)
            for queue in settings.message_queues
            for subscription in queue.subscriptions
        )

    def _consumer(self, queue: str, subscription: Subscription, limit: float | None) -> Consumer:
        from hrpc.queues.consumer import Consumer  # a server without message queues does not import them

        return Consumer(queue, subscription, partial(self._open.__getitem__, queue), limit)

    @asynccontextmanager
    async def opened(self, queue: MessageQueue, center: Configs | None) -> AsyncIterator[None]:
        """Opens a queue; its plugin's ``get()`` gives what sends for as long as the context lasts."""
        async with queue.open(await _stored(queue, center)) as broker:
            from hrpc.queues import carried

            carried.register_metrics()
            self._open[queue.name] = broker
            self._health.add(queue.name, partial(self._ask, queue.name))
            try:
                with self._runtime.provide(queue.slot, broker.client):
                    yield
            finally:
                del self._open[queue.name]

    async def _ask(self, name: str) -> None:
        await self._open[name].ping()
        for consumer in self.consumers:
            if consumer.queue == name and consumer.failure is not None:
                raise QueueUnavailable(f"{consumer.id}: consumes nothing: {consumer.failure}")


async def _stored(queue: MessageQueue, center: Configs | None) -> StoredSettings | None:
    if not queue.needs_settings or center is None:
        return None
    name = f"messagequeues/{queue.name}"
    await center.ready(name)
    return StoredSettings(center.path(name), center.get(name, dict))
