"""The open connection to a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from loguru import logger

from hrpc.errors import InvalidConfig, QueueUnavailable
from hrpc.queues import Delivery, Subscription
from hrpc.queues.adapter import server_name
from hrpc_kafka import errors, quiet
from hrpc_kafka.consuming import consuming
from hrpc_kafka.producing import Kafka
from hrpc_kafka.settings import KafkaSettings

_STOP_LIMIT = 3.0
"""Seconds for what is still to be sent, and for closing."""


class KafkaBroker:
    """An `hrpc.queues.Broker`."""

    def __init__(self, name: str, settings: KafkaSettings, client_id: str, producer: AIOKafkaProducer) -> None:
        self.client = Kafka(name, settings, producer)
        self._name = name
        self._settings = settings
        self._client_id = client_id

    async def ping(self) -> None:
        """Asks one broker for what it knows of the cluster; and nothing is well when nothing is sent any more."""
        producer = self.client.producer
        if producer._sender.sender_task.done():
            raise self._unavailable("nothing is sent any more, after an error in aiokafka: restart the service")
        if not await producer.client.force_metadata_update():
            raise self._unavailable("no broker answers")

    def _unavailable(self, why: str) -> QueueUnavailable:
        return self._settings.fault(QueueUnavailable, f"{self._settings.place}: {why}")

    def consume(self, subscription: Subscription) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Begins to consume."""
        return consuming(self._name, self._settings, self._client_id, subscription, self.client)


@asynccontextmanager
async def opened(settings: KafkaSettings, name: str) -> AsyncIterator[KafkaBroker]:
    """Connects to the cluster. Raises `QueueUnavailable` and `QueueRefused`."""
    client_id = server_name()
    producer = _producer(settings, client_id)
    with quiet.repetitions():
        try:
            await _started(settings, client_id, producer)
            yield KafkaBroker(name, settings, client_id, producer)
        finally:
            await _stopped(settings, producer)


async def _stopped(settings: KafkaSettings, producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_LIMIT):
            await producer.stop()
    except TimeoutError:
        logger.warning("{}: messages were not sent before the end: no broker takes them", settings.place)
        await producer.client.close()


def _producer(settings: KafkaSettings, client_id: str) -> AIOKafkaProducer:
    try:
        return AIOKafkaProducer(
            **settings.connection(client_id),
            acks="all",
            enable_idempotence=settings.idempotent,
            compression_type=None if settings.compression == "none" else settings.compression,
            linger_ms=round(settings.linger * 1000),
            max_request_size=settings.max_message_bytes,
            request_timeout_ms=round(settings.send_timeout * 1000),
        )
    except RuntimeError as error:  # a codec whose package is not there
        raise InvalidConfig.because(
            settings.origin, "compression", f"{settings.compression} needs pip install 'aiokafka[all]'"
        ) from error


async def _started(settings: KafkaSettings, client_id: str, producer: AIOKafkaProducer) -> None:
    doing = "cannot connect"
    try:
        async with asyncio.timeout(settings.connect_timeout):
            await producer.start()
    except KafkaConnectionError as error:
        raise errors.told(settings, doing, await _reason(settings, client_id) or error) from error
    except (KafkaError, TimeoutError, OSError) as error:
        raise errors.told(settings, doing, error) from error


async def _reason(settings: KafkaSettings, client_id: str) -> Exception | None:
    """What aiokafka only logs: why the first of the brokers cannot be used."""
    host, _, port = settings.servers[0].rpartition(":")
    connection = settings.connection(client_id)
    del connection["bootstrap_servers"]
    try:
        async with asyncio.timeout(settings.connect_timeout):
            made = await create_conn(host.strip("[]"), int(port), **connection)
    except (KafkaError, TimeoutError, OSError) as error:
        return error
    made.close()
    return None
