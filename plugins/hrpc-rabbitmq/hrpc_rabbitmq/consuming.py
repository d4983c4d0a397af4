"""What arrives from the queues of a subscription."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelClosed
from aiormq import Channel
from aiormq.abc import DeliveredMessage
from loguru import logger
from pamqp.commands import Basic

from hrpc.errors import QueueError
from hrpc_rabbitmq import errors
from hrpc_rabbitmq.acknowledging import Acknowledging
from hrpc_rabbitmq.delivered import Delivered, Means, give_back
from hrpc_rabbitmq.link import Link
from hrpc_rabbitmq.publishing import Client
from hrpc_rabbitmq.settings import RabbitSettings
from hrpc_rabbitmq.subscription import RabbitSubscription
from hrpc_rabbitmq.topology import Topology

_NUMBERS = itertools.count(1)
"""Of consumers; the broker wants another tag for each of a channel."""
_PART = 4
"""Which part of the messages that the broker hands out may wait to be acknowledged together."""


class Consuming:
    """The messages of one subscription, from one channel at a time.

    Iterating goes on with another channel when the connection was lost and is there again; what was delivered before is
    then delivered again by the broker.
    """

    def __init__(
        self,
        settings: RabbitSettings,
        subscription: RabbitSubscription,
        link: Link,
        declared: Topology,
        client: Client,
    ) -> None:
        self._settings = settings
        self._subscription = subscription
        self._means = Means(settings, subscription, client)
        self._link = link
        self._topology = declared
        self._queues: dict[str, str] = {}
        """By consumer tag."""
        self._opened: AbstractChannel | None = None
        self._channel: Channel | None = None
        self._arrived: deque[tuple[str, DeliveredMessage]] = deque()
        self._more = asyncio.Event()
        self._cancelled: deque[str] = deque()
        """Queues that were deleted, or whose node has failed."""
        self._leaves = False
        self._ends: Acknowledging | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Consuming]:
        """Begins to consume; at the end gives back what was delivered and has no end yet. Raises `QueueError`."""
        limit = self._settings.connect_timeout
        try:
            try:
                async with asyncio.timeout(limit):
                    await self._begin()
            except TimeoutError:
                why = self._link.failure or errors.unavailable(self._settings, f"no answer within {limit:g} s")
                raise why from None
            yield self
        finally:
            await self._end()

    def __aiter__(self) -> Consuming:
        return self

    async def __anext__(self) -> Delivered:
        while True:
            if self._channel is None or self._channel.is_closed:
                self._arrived.clear()
                await self._begin()
            if self._arrived:
                assert self._ends is not None
                return Delivered(self._means, self._ends, *self._arrived.popleft())
            if self._cancelled:
                await self._consume_again(self._cancelled[0])
                continue
            self._more.clear()
            await self._more.wait()

    async def aclose(self) -> None:
        """Takes no further message, and gives back those that nobody has begun with; the others can still be ended."""
        channel, self._leaves = self._channel, True
        if channel is None or channel.is_closed:
            return
        try:
            # Without waiting for an answer: a request that is given up would take the channel with it.
            for tag in tuple(self._queues):
                await channel.basic_cancel(tag, nowait=True)
            while self._arrived:
                await give_back(self._arrived.popleft()[1])
        except errors.FAILURES as error:
            errors.pass_cancel(error)

    async def _begin(self) -> None:
        """Consumes from a new channel, as soon as there is a connection. Raises `QueueError`."""
        while True:
            connection = await self._link.connection()
            try:
                await self._topology.declare(connection, self._subscription)
                with errors.cancellable():
                    await self._consume(connection)
                return
            except QueueError:
                if self._link.failure is None:
                    raise
            except errors.FAILURES as error:
                errors.pass_cancel(error)
                if self._link.failure is None:
                    raise errors.not_declared(self._settings, self._subscription.name, error) from error

    async def _consume(self, connection: Any) -> None:
        opened = connection.channel(publisher_confirms=False)
        await opened.initialize()
        self._opened = opened
        channel = cast(Channel, await opened.get_underlay_channel())
        channel.closing.add_done_callback(self._on_close)
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        await channel.basic_qos(prefetch_count=self._subscription.window)
        self._queues.clear()
        self._cancelled.clear()
        self._channel = channel
        self._ends = Acknowledging(channel, max(1, self._subscription.window // _PART))
        for queue in self._subscription.topics:
            await self._ask_for(queue, channel)

    async def _consume_again(self, queue: str) -> None:
        """Of a queue that gives nothing any more, on the same channel: running handlers go on. Raises `QueueError`."""
        channel = self._channel
        assert channel is not None
        logger.warning(
            "{}: gives no messages of queue {!r} any more: it was deleted, or its node has failed; consumes it again",
            self._settings.place,
            queue,
        )
        await self._topology.declare(await self._link.connection(), self._subscription)
        try:
            await self._ask_for(queue, channel)
            self._cancelled.popleft()
        except errors.FAILURES as error:
            errors.pass_cancel(error)
            if not channel.is_closed:
                raise errors.not_declared(self._settings, f"queue {queue!r}", error) from error

    async def _ask_for(self, queue: str, channel: Channel) -> None:
        tag = f"{queue}-{next(_NUMBERS)}"
        self._queues[tag] = queue
        await channel.basic_consume(queue, partial(self._on_message, queue), consumer_tag=tag)

    async def _on_message(self, queue: str, message: DeliveredMessage) -> None:
        if message.channel is not self._channel or self._ends is None:
            return
        self._ends.delivered(message.delivery_tag or 0)
        if self._leaves:
            await give_back(message)
        else:
            self._arrived.append((queue, message))
            self._more.set()

    def _on_cancel(self, frame: Basic.Cancel) -> None:
        queue = self._queues.pop(frame.consumer_tag or "", None)
        if queue is not None:
            self._cancelled.append(queue)
            self._more.set()

    def _on_close(self, closing: asyncio.Future[Any]) -> None:
        self._more.set()
        why = None if closing.cancelled() else closing.exception()
        if isinstance(why, ChannelClosed) and any(why.args):
            where = self._settings.place
            logger.warning("{}: closed the channel of {}: {}", where, self._subscription.name, errors.said(why))

    async def _end(self) -> None:
        opened, self._opened, self._channel = self._opened, None, None
        self._arrived.clear()
        if opened is None or opened.is_closed:
            return
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                if self._ends is not None:
                    await self._ends.flushed()
                with errors.cancellable():
                    await opened.close()
        except TimeoutError:
            logger.warning("{}: closed no channel within {:g} s", self._settings.place, self._settings.connect_timeout)
        except errors.FAILURES as error:
            errors.pass_cancel(error)
