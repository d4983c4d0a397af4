"""The queues and exchanges of a service.

Beside a queue ``orders`` there are ``orders.dead`` for its dead letters and ``orders.retry.500ms``, ``….2s`` and so on
for messages that wait for their next attempt. These have no consumer: a message stays there until its time is over
(https://www.rabbitmq.com/docs/ttl), and then the broker itself puts it back (https://www.rabbitmq.com/docs/dlx).

RabbitMQ looks for what is over at the head of a queue only, so that a message waits for those before it as well. Hence
the steps: in each queue all wait for about as long, and nobody for more than the step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection

from hrpc_rabbitmq import errors
from hrpc_rabbitmq.settings import RabbitSettings
from hrpc_rabbitmq.subscription import LONGEST_DELAY, RabbitSubscription

_STEPS = (0.5, 2.0, 8.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0, LONGEST_DELAY)
"""The longest wait in each queue for retries, in seconds."""
_DELIVERIES = 20
"""How often a quorum queue delivers a message that gets no end. RabbitMQ 4 has the same limit, older ones had none."""


def steps(longest: float) -> tuple[float, ...]:
    """Those of the queues that retries need whose longest delay is this one."""
    return tuple(step for step, before in zip(_STEPS, (0.0, *_STEPS), strict=False) if before < longest)


def step_of(delay: float) -> float:
    """The step of the queue in which a message waits for so long."""
    return next((step for step in _STEPS if delay <= step), LONGEST_DELAY)


def retry_queue(queue: str, step: float) -> str:
    """The name of the queue in which messages of `queue` wait."""
    units = ((3600, "h"), (60, "min"), (1, "s"))
    told = next((f"{step / unit:g}{name}" for unit, name in units if step >= unit), f"{step * 1000:g}ms")
    return f"{queue}.retry.{told}"


def declared(subscription: RabbitSubscription) -> Iterator[tuple[str, dict[str, Any]]]:
    """The queues of a subscription, each with its arguments."""
    kind = {"x-queue-type": "quorum"} if subscription.quorum else {}
    for queue in subscription.topics:
        letter = subscription.dead_letter_of(queue)
        limited = _limited(letter) if subscription.quorum and letter is not None else {}
        own = {**kind, **limited, **subscription.arguments}
        yield queue, {key: value for key, value in own.items() if value is not None}
        if letter is not None:
            yield letter, dict(kind)
        for step in steps(subscription.retry.max_delay):
            yield retry_queue(queue, step), {**kind, **_waiting(queue, step, subscription.quorum)}


def _limited(letter: str) -> dict[str, Any]:
    # What nobody can end, because processes die of it: https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
    return {"x-delivery-limit": _DELIVERIES, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": letter}


def _waiting(queue: str, step: float, quorum: bool) -> dict[str, Any]:
    back = {
        "x-message-ttl": int(step * 1000),
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
    }
    # The broker takes a message out when the other queue has confirmed it: https://www.rabbitmq.com/docs/quorum-queues
    safely = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
    return {**back, **safely} if quorum else back


class Topology:
    """Declares what a service publishes to and consumes from."""

    def __init__(self, settings: RabbitSettings, exchanges: Mapping[str, str]) -> None:
        """`exchanges` are those that it publishes to, with their types."""
        self._settings = settings
        self._exchanges = exchanges

    async def declare_exchanges(self, connection: AbstractConnection) -> None:
        """Makes them where they are missing. Raises `QueueError`."""
        if self._exchanges:
            async with self._channel(connection) as channel:
                for name, type in self._exchanges.items():
                    await self._exchange(channel, name, type)

    async def declare(self, connection: AbstractConnection, subscription: RabbitSubscription) -> None:
        """Makes what a subscription needs where it is missing, or only looks whether it is there: ``declare=False``.

        Raises `QueueError`.
        """
        async with self._channel(connection) as channel:
            for name, arguments in declared(subscription):
                await self._queue(channel, name, arguments, passive=not subscription.declare)
            if subscription.declare:
                for queue in subscription.topics:
                    await self._bind(channel, queue, subscription)

    @asynccontextmanager
    async def _channel(self, connection: AbstractConnection) -> AsyncIterator[AbstractChannel]:
        try:
            with errors.cancellable():
                async with connection.channel() as channel:
                    yield channel
        except errors.FAILURES as error:
            errors.pass_cancel(error)
            raise errors.lost(self._settings, error) from error

    async def _bind(self, channel: AbstractChannel, name: str, subscription: RabbitSubscription) -> None:
        for binding in subscription.bindings:
            if binding.type is not None:
                await self._exchange(channel, binding.exchange, binding.type)
            try:
                queue = await channel.get_queue(name, ensure=False)
                await queue.bind(binding.exchange, binding.routing_key, arguments=dict(binding.arguments) or None)
            except errors.FAILURES as error:
                self._told(f"the binding of queue {name!r} to exchange {binding.exchange!r}", error)

    async def _queue(self, channel: AbstractChannel, name: str, arguments: dict[str, Any], *, passive: bool) -> None:
        try:
            await channel.declare_queue(name, durable=True, passive=passive, arguments=arguments or None)
        except errors.FAILURES as error:
            self._told(f"queue {name!r}", error)

    async def _exchange(self, channel: AbstractChannel, name: str, type: str) -> None:
        try:
            await channel.declare_exchange(name, type, durable=True)
        except errors.FAILURES as error:
            self._told(f"exchange {name!r}", error)

    def _told(self, what: str, error: BaseException) -> None:
        errors.pass_cancel(error)
        raise errors.not_declared(self._settings, what, error) from error
