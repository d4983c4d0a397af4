"""Sending messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from hrpc.queues import sending
from hrpc_kafka import errors
from hrpc_kafka.settings import KafkaSettings

RawHeaders = Iterable[tuple[str, bytes]]


class Kafka:
    """What ``kafka.get()`` gives: it sends."""

    def __init__(self, name: str, settings: KafkaSettings, producer: AIOKafkaProducer) -> None:
        """`name` is that of the message queue."""
        self.producer = producer
        """aiokafka's own, for what is not here."""
        self._name = name
        self._settings = settings

    async def produce(
        self,
        topic: str,
        body: bytes | None,
        *,
        key: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        partition: int | None = None,
    ) -> str:
        """Sends a message, and waits until all brokers that are in sync have it; gives its partition and offset, as in
        ``0/17``.

        Messages with the same `key` go to the same partition, where they keep their order; `partition` chooses one. A
        `body` of None, with a key, is the tombstone of a compacted topic. The context of what runs now goes along in
        the headers (`hrpc.queues.sending`).

        ::

            await kafka.get().produce("orders", order.SerializeToString(), key=b"7", headers={"version": "2"})

        Raises `QueueUnavailable` when the brokers do not confirm it within the setting ``send_timeout`` (it may arrive
        all the same), and `QueueRefused` when they do not take it.
        """
        with sending(self._name, topic, headers) as carried:
            return await self.send(
                topic, body, key, [(name, text.encode()) for name, text in carried.items()], partition
            )

    async def send(
        self, topic: str, body: bytes | None, key: bytes | None, headers: RawHeaders, partition: int | None = None
    ) -> str:
        """Sends it as it is, without the context. Raises as `produce` does."""
        doing = f"a message to {topic!r} was not sent"
        try:
            async with asyncio.timeout(self._settings.send_timeout):
                sent = await self.producer.send_and_wait(topic, body, key, partition, headers=list(headers))
        except (KafkaError, TimeoutError) as error:
            raise errors.told(self._settings, doing, error) from error
        return f"{sent.partition}/{sent.offset}"
