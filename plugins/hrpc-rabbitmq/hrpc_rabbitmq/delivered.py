"""What becomes of a message that was delivered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NoReturn

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from hrpc.errors import QueueError
from hrpc.queues import Message
from hrpc_rabbitmq import errors, headers, topology
from hrpc_rabbitmq.acknowledging import Acknowledging
from hrpc_rabbitmq.publishing import Client
from hrpc_rabbitmq.settings import RabbitSettings
from hrpc_rabbitmq.subscription import LONGEST_DELAY, RabbitSubscription

_LEAST_PAUSE = 1.0
"""Seconds before the broker gets back a message that could neither be published again nor wait anywhere."""


async def give_back(message: DeliveredMessage) -> None:
    """The broker delivers it again, to whoever consumes."""
    await message.channel.basic_nack(message.delivery_tag or 0, requeue=True, wait=False)


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to end the messages of a subscription."""

    settings: RabbitSettings
    subscription: RabbitSubscription
    client: Client


class Delivered:
    """One message: an `hrpc.queues.Delivery`."""

    __slots__ = ("_ends", "_means", "_raw", "message")

    def __init__(self, means: Means, ends: Acknowledging, queue: str, raw: DeliveredMessage) -> None:
        self._means = means
        self._ends = ends
        self._raw = raw
        properties = raw.header.properties
        self.message = Message(
            queue,
            raw.body,
            None,
            headers.readable(properties.headers),
            headers.attempt(properties.headers),
            properties.message_id or "",
            None if properties.timestamp is None else properties.timestamp.timestamp(),
            raw,
        )

    async def done(self) -> None:
        """Acknowledges. Raises `QueueUnavailable` when the channel is gone: the broker delivers it again."""
        if self._raw.channel.is_closed:
            self._lost(None)
        self._ends.done(self._tag)

    async def retry(self, delay: float) -> None:
        """Has it wait in a queue for retries, and then acknowledges. Raises `QueueError`; then it comes again as well,
        but not before the delay."""
        queue = self.message.topic
        delay = min(delay, LONGEST_DELAY)
        waits = delay * 1000 >= 1
        to = topology.retry_queue(queue, topology.step_of(delay)) if waits else queue
        properties = headers.again(
            self._raw.header.properties, headers.tried(self.message), expires=delay if waits else None
        )
        try:
            await self._publish(to, properties)
        except QueueError:
            asyncio.get_running_loop().call_later(max(delay, _LEAST_PAUSE), self._give_back)
            raise

    async def bury(self, reason: BaseException | str) -> None:
        """Puts it into the queue of dead letters and acknowledges; without one, rejects it. Raises `QueueError`."""
        queue = self.message.topic
        letter = self._means.subscription.dead_letter_of(queue)
        if letter is None:
            try:
                await self._raw.channel.basic_reject(self._tag, requeue=False, wait=False)
            except errors.FAILURES as error:
                self._lost(error)
            self._ends.told(self._tag)
            return
        why = headers.dead(self.message, reason)
        await self._publish(letter, headers.again(self._raw.header.properties, why))

    async def _publish(self, queue: str, properties: Basic.Properties) -> None:
        # Where it cannot be acknowledged any more, it is delivered again anyway, and would be there twice.
        if self._raw.channel.is_closed:
            self._lost(None)
        await self._means.client.send("", queue, self._raw.body, properties)
        await self.done()

    def _give_back(self) -> None:
        if not self._raw.channel.is_closed:
            task = asyncio.ensure_future(self._returned())
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    async def _returned(self) -> None:
        await give_back(self._raw)
        # Not before: what is acknowledged up to a later number would be acknowledged with it.
        self._ends.told(self._tag)

    @property
    def _tag(self) -> int:
        return self._raw.delivery_tag or 0

    def _lost(self, error: BaseException | None) -> NoReturn:
        if error is not None:
            errors.pass_cancel(error)
        raise errors.unavailable(
            self._means.settings, "the connection was lost before the message was acknowledged"
        ) from error
