"""A service with queues of its own at the RabbitMQ that all tests share, and what is seen from beside it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

import hrpc
import hrpc_rabbitmq as rabbitmq
from hrpc.queues import Message
from hrpc.testing.servers import RabbitMQServer
from tests.eventually import eventually

LOCAL = hrpc.with_listen_port(0, host="127.0.0.1")


def a_name() -> str:
    """The name of a queue or an exchange that no other test has."""
    return f"orders-{uuid.uuid4().hex[:12]}"


def login(broker: RabbitMQServer, **more: Any) -> dict[str, Any]:
    """The settings for this broker."""
    return broker.settings | more


def a_server(
    broker: RabbitMQServer,
    *subscriptions: rabbitmq.RabbitSubscription,
    options: tuple[hrpc.Option, ...] = (),
    **more: Any,
) -> hrpc.Server:
    """A service that consumes these, not started."""
    queue = rabbitmq.new(*subscriptions, **login(broker, **more))
    return hrpc.new_server(hrpc.with_server_name("shop"), LOCAL, hrpc.with_message_queues(queue), *options)


@asynccontextmanager
async def beside(broker: RabbitMQServer) -> AsyncIterator[AbstractChannel]:
    """A channel of another client."""
    connection = await aio_pika.connect(
        host=broker.host, port=broker.port, login=broker.username, password=broker.password
    )
    async with connection, connection.channel() as channel:
        yield channel


async def needs(broker: RabbitMQServer, *version: int) -> None:
    """Skips the test where the broker is an older one, as that of older distributions."""
    connection: Any = await aio_pika.connect(
        host=broker.host, port=broker.port, login=broker.username, password=broker.password
    )
    async with connection:
        found = str(connection.transport.connection.server_properties["version"])
    if tuple(map(int, found.split(".")[:2])) < version:
        pytest.skip(f"RabbitMQ {found} is older than {'.'.join(map(str, version))}")


async def put(broker: RabbitMQServer, queue: str, *bodies: bytes, **properties: Any) -> None:
    """Publishes, as another service does, to a queue that is there."""
    async with beside(broker) as channel:
        for body in bodies:
            message = aio_pika.Message(body, delivery_mode=2, **properties)
            await channel.default_exchange.publish(message, queue)


async def taken(broker: RabbitMQServer, queue: str) -> aio_pika.IncomingMessage:
    """The next message of a queue that has no consumer, as soon as there is one."""
    async with beside(broker) as channel:
        found = await channel.get_queue(queue, ensure=False)

        async def look() -> Any:
            return await found.get(no_ack=True, fail=False)

        message: aio_pika.IncomingMessage = await eventually(look)
        return message


async def waiting(broker: RabbitMQServer, queue: str) -> int:
    """How many messages are in a queue and with no consumer."""
    async with beside(broker) as channel:
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


class Handled:
    """A handler that keeps what it was given."""

    def __init__(self, failures: int = 0) -> None:
        """The first `failures` calls raise."""
        self.messages: list[Message] = []
        self._failures = failures
        self._came = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        async with self._came:
            self.messages.append(message)
            self._came.notify_all()
        if len(self.messages) <= self._failures:
            raise ZeroDivisionError("no such product")

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]

    async def until(self, count: int) -> None:
        """Waits for so many calls."""
        async with asyncio.timeout(60), self._came:
            await self._came.wait_for(lambda: len(self.messages) >= count)
