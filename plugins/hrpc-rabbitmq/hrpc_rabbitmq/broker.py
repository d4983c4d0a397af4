"""An open RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import cast

from hrpc.queues import Subscription
from hrpc_rabbitmq import errors, quiet, waiting
from hrpc_rabbitmq.consuming import Consuming
from hrpc_rabbitmq.link import Link
from hrpc_rabbitmq.publishing import Client
from hrpc_rabbitmq.settings import RabbitSettings
from hrpc_rabbitmq.subscription import RabbitSubscription
from hrpc_rabbitmq.topology import Topology


class OpenRabbit:
    """An `hrpc.queues.Broker`: one connection to publish, another one where something is consumed."""

    def __init__(self, settings: RabbitSettings, client: Client, links: Sequence[Link], topology: Topology) -> None:
        self.client = client
        self._settings = settings
        self._links = links
        self._topology = topology

    async def ping(self) -> None:
        """Raises `QueueUnavailable` when a connection is away, or the broker does not answer on one."""
        for link in self._links:
            if link.failure is not None:
                raise link.failure
        limit = self._settings.connect_timeout
        try:
            async with asyncio.timeout(limit):
                for link in self._links:
                    await link.ping()
        except TimeoutError:
            why = "it stands still, or holds up its publishers: look for alarms of memory or disk at the broker"
            raise errors.unavailable(self._settings, f"no answer within {limit:g} s: {why}") from None

    def consume(self, subscription: Subscription) -> AbstractAsyncContextManager[Consuming]:
        """Begins to consume."""
        wanted = cast(RabbitSubscription, subscription)
        return Consuming(self._settings, wanted, self._links[-1], self._topology, self.client).opened()


@asynccontextmanager
async def opened(
    settings: RabbitSettings,
    name: str,
    subscriptions: Sequence[RabbitSubscription],
    exchanges: Mapping[str, str],
) -> AsyncIterator[OpenRabbit]:
    """Connects, declares what the service needs, and gives the open broker. Raises `QueueError`."""
    async with AsyncExitStack() as stack:
        stack.enter_context(quiet.connections())
        topology = Topology(settings, exchanges)
        publishes = await stack.enter_async_context(Link(settings, name, "publishes").opened())
        links = [publishes]
        await topology.declare_exchanges(await publishes.connection())
        if subscriptions:
            consumes = await stack.enter_async_context(Link(settings, name, "consumes").opened())
            links.append(consumes)
            for subscription in subscriptions:
                await topology.declare(await consumes.connection(), subscription)
            await stack.enter_async_context(waiting.measured(name, consumes, subscriptions))
        yield OpenRabbit(settings, Client(settings, name, publishes), links, topology)
