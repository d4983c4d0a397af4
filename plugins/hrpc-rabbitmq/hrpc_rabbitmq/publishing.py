"""What ``rabbitmq.get()`` gives: publishing, with the broker's word that it has the message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelClosed, DeliveryError
from aiormq import Channel
from pamqp.commands import Basic

from hrpc import context, queues
from hrpc.errors import OptionError, QueueUnavailable
from hrpc_rabbitmq import errors, headers
from hrpc_rabbitmq.link import Link
from hrpc_rabbitmq.settings import RabbitSettings
from hrpc_rabbitmq.subscription import checked_name

_CHANNELS = 64
"""How many exchanges have a channel of their own: a channel ends with the first message to an exchange that is missing,
and what others publish at that moment with it."""


_PAUSE = 0.02
"""Seconds before a message is published once more whose channel has ended: the first time; then twice as long."""


class Client:
    """Publishes to RabbitMQ, through one connection for all."""

    def __init__(self, settings: RabbitSettings, name: str, link: Link) -> None:
        """`name` is that of the message queue, for traces and metrics."""
        self._settings = settings
        self._name = name
        self._link = link
        self._channels: dict[str, Channel] = {}
        self._opening = asyncio.Lock()

    async def publish(
        self,
        exchange: str,
        body: bytes,
        *,
        routing_key: str = "",
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
        mandatory: bool = True,
        persistent: bool = True,
        expires: float | None = None,
        priority: int | None = None,
        content_type: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        type: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Publishes a message, and returns its ID when the broker has said that it has it.

        ::

            await rabbitmq.get().publish("", body, routing_key="orders")                # to the queue "orders"
            await rabbitmq.get().publish("events", body, routing_key="order.paid")      # to an exchange

        While the broker is away this waits for it, at most `timeout` seconds, ``publish_timeout`` when not given, and
        no longer than the call has that is being served; a message of whose end nothing is known is then published
        once more. Consumers may therefore see it twice, with the same ID, which is a new one unless given.

        A message that no queue takes is an error, unless `mandatory` is false. It outlives a restart of the broker,
        unless `persistent` is false, and is dropped after `expires` seconds that it has waited. The trace and context
        of what runs now are in its headers beside those given.

        Raises `QueueUnavailable` when the broker is away or does not answer in time, and `QueueRefused` when there is
        no such exchange, when no queue takes the message, or the broker does not.
        """
        _check(exchange, routing_key, body)
        where = exchange or routing_key
        with queues.sending(self._name, where, headers) as carried:
            properties = _properties(
                carried,
                id=id,
                persistent=persistent,
                expires=expires,
                priority=priority,
                content_type=content_type,
                correlation_id=correlation_id,
                reply_to=reply_to,
                type=type,
            )
            await self.send(exchange, routing_key, body, properties, mandatory=mandatory, timeout=timeout)
        return str(properties.message_id)

    @asynccontextmanager
    async def channel(self, *, confirms: bool = True) -> AsyncIterator[AbstractChannel]:
        """A channel of aio-pika, for all else: ``declare_queue``, ``get``, RPC, transactions.

        It ends with its context, and with the connection. Raises `QueueUnavailable`.
        """
        try:
            async with asyncio.timeout(self._settings.publish_timeout):
                connection = await self._link.connection()
        except TimeoutError:
            raise self._away(self._settings.publish_timeout, False) from None
        with errors.cancellable():
            async with connection.channel(publisher_confirms=confirms) as channel:
                yield channel

    async def send(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Basic.Properties,
        *,
        mandatory: bool = True,
        timeout: float | None = None,
    ) -> None:
        """The same for a message whose properties are there; neither traced nor counted."""
        limit, is_on_its_way = self._limit(timeout), False
        try:
            async with asyncio.timeout(limit):
                pause = _PAUSE
                while True:
                    if (channel := await self._writable(exchange)) is not None:
                        is_on_its_way = True
                        if await self._sent(channel, exchange, routing_key, body, properties, mandatory):
                            return
                    await asyncio.sleep(pause)
                    pause *= 2
        except TimeoutError:
            raise self._away(limit, is_on_its_way) from None

    async def _writable(self, exchange: str) -> Channel | None:
        """A channel on which the broker takes messages; None when the connection was lost meanwhile.

        What is written while the broker holds up its publishers is not lost: it would take each repetition when its
        alarm is over (https://www.rabbitmq.com/docs/connection-blocked).
        """
        try:
            channel = await self._channel(exchange)
            await channel.connection.ready()
        except TimeoutError:
            raise
        except errors.FAILURES as error:
            errors.pass_cancel(error)
            return None
        return channel

    async def _sent(
        self,
        channel: Channel,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Basic.Properties,
        mandatory: bool,
    ) -> bool:
        """Whether the broker has the message; not, when the connection was lost. Raises `QueueRefused`."""
        try:
            await channel.basic_publish(
                body,
                exchange=exchange,
                routing_key=routing_key,
                properties=properties,
                mandatory=mandatory,
                wait=False,
            )
        except TimeoutError:
            raise
        except (DeliveryError, ChannelClosed) as error:
            where = f"exchange {exchange!r} with routing key {routing_key!r}" if exchange else f"queue {routing_key!r}"
            raise errors.not_published(self._settings, where, error) from error
        except errors.FAILURES as error:
            errors.pass_cancel(error)
            return False
        return True

    async def _channel(self, exchange: str) -> Channel:
        key = exchange if exchange in self._channels or len(self._channels) < _CHANNELS else ""
        channel = self._channels.get(key)
        if channel is not None and not channel.is_closed:
            return channel
        async with self._opening:
            channel = self._channels.get(key)
            if channel is None or channel.is_closed:
                connection = await self._link.connection()
                opened = connection.channel(publisher_confirms=True, on_return_raises=True)
                with errors.cancellable():
                    await opened.initialize()
                channel = self._channels[key] = cast(Channel, await opened.get_underlay_channel())
        return channel

    def _limit(self, timeout: float | None) -> float:
        limit = self._settings.publish_timeout if timeout is None else timeout
        current = context.current()
        left = None if current is None else current.time_remaining()
        return limit if left is None else min(limit, left)

    def _away(self, limit: float, is_on_its_way: bool) -> QueueUnavailable:
        why = self._link.failure
        if why is not None:
            return errors.unavailable(self._settings, f"away for more than {limit:.3g} s: {errors.reason(why)}")
        what = "has not confirmed a message within" if is_on_its_way else "has taken no message for"
        may = ", and may have it" if is_on_its_way else ""
        return errors.unavailable(
            self._settings, f"{what} {limit:.3g} s{may}: look for alarms of memory or disk at the broker"
        )


def _check(exchange: object, routing_key: object, body: object) -> None:
    if exchange != "":
        checked_name("rabbitmq publish", exchange)
    if not isinstance(routing_key, str) or len(routing_key.encode()) > 255:
        raise OptionError(f"rabbitmq publish(routing_key={routing_key!r}): takes text of at most 255 bytes")
    if not isinstance(body, bytes):
        raise OptionError(f"rabbitmq publish: takes a body of bytes, not of {type(body).__name__}")


def _properties(carried: Mapping[str, str], **given: Any) -> Basic.Properties:
    for name, value in given.items():
        if isinstance(value, str) and len(value.encode()) > 255:
            raise OptionError(f"rabbitmq publish({name}=…): takes at most 255 bytes")
    return headers.new(carried, **given)
