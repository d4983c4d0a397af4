"""What happens around a message: its context and trace, its time limit, what becomes of it, metrics, the log."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from loguru import logger

from hrpc import _runtime, context, from_thread, life, metrics
from hrpc.errors import HandlerTimeout, HrpcError, QueueError, Reject
from hrpc.queues import carried
from hrpc.queues.contract import Delivery
from hrpc.queues.message import Message
from hrpc.queues.subscription import Subscription

_MESSAGES, _SECONDS, _IN_FLIGHT = "queue_messages", "queue_message_seconds", "queue_in_flight"


def register_metrics() -> None:
    """Registers what is measured of messages, for the life of the server in which it is called."""
    labels = ("queue", "topic", "group")
    metrics.register_counter(
        _MESSAGES, "Messages that were handled, by what became of them: done, retry, dead.", (*labels, "outcome")
    )
    metrics.register_histogram(_SECONDS, "Seconds that the handler of a message took.", labels)
    metrics.register_gauge(_IN_FLIGHT, "Messages that are handled now.", labels, workers="sum")


class Handling:
    """Handles the messages of one subscription."""

    def __init__(self, queue: str, subscription: Subscription) -> None:
        """`queue` is the name of the message queue, for metrics and the log."""
        self._queue = queue
        self._subscription = subscription
        self._group = subscription.group or ""
        self._is_async = life.is_async(subscription.handler)
        self._in_flight: Counter[str] = Counter()

    async def handle(self, delivery: Delivery) -> None:
        """Handles one message, and tells the broker. It raises nothing but a cancellation, by which the message has no
        end: it comes again."""
        message = delivery.message
        self._count(message.topic, 1)
        began = time.perf_counter()
        failure: BaseException | None = None
        with context.entered(carried.received(message.headers, self._subscription.timeout)) as current:
            current.method = f"{self._queue}:{message.topic}"
            tracer = _runtime.tracer()
            span = None if tracer is None else tracer.consuming(current, message.topic, self._attributes(message))
            try:
                failure = await self._failure(message)
                labels = {"queue": self._queue, "topic": message.topic, "group": self._group}
                metrics.observe(_SECONDS, time.perf_counter() - began, **labels)
                outcome = await self._tell(delivery, failure)
                metrics.incr(_MESSAGES, 1, **labels, outcome=outcome)
            except asyncio.CancelledError as error:
                failure = error
                raise
            finally:
                self._count(message.topic, -1)
                if span is not None:
                    span.end(failure)

    async def _failure(self, message: Message) -> BaseException | None:
        """What the handler has raised, if anything."""
        limit = asyncio.timeout(self._subscription.timeout)
        try:
            async with limit:
                with from_thread.reachable():
                    await self._called(message)
        except GeneratorExit:
            raise
        except TimeoutError as error:
            return HandlerTimeout(self._subscription.timeout or 0.0) if limit.expired() else error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return error  # its own doing: what it awaited was cancelled
        except BaseException as error:  # noqa: BLE001 - a SystemExit of a handler is its failure, and not the server's
            return error
        return None

    async def _called(self, message: Message) -> None:
        handler: Any = self._subscription.handler
        result = handler(message) if self._is_async else await life.in_daemon_thread(lambda: handler(message))
        if hasattr(result, "__await__"):
            await result

    async def _tell(self, delivery: Delivery, failure: BaseException | None) -> str:
        """Tells the broker what becomes of the message; gives it in a word."""
        retry = self._subscription.retry
        try:
            if failure is None:
                await delivery.done()
                return "done"
            if not isinstance(failure, Reject) and delivery.message.attempt < retry.attempts:
                delay = retry.delay(delivery.message.attempt)
                self._log(delivery.message, failure, f"comes again in {delay:.1f} s")
                await delivery.retry(delay)
                return "retry"
            return await self._bury(delivery, failure)
        except QueueError as error:
            logger.warning("{}: {} has no end, and comes again: {}", self._queue, _named(delivery.message), error)
            return "lost"

    async def _bury(self, delivery: Delivery, failure: BaseException) -> str:
        letter = self._subscription.dead_letter_of(delivery.message.topic)
        self._log(delivery.message, failure, f"goes to {letter}" if letter else "is dropped, without a dead letter")
        try:
            await delivery.bury(failure)
        except QueueError as error:
            # Without a dead letter it may not be lost, nor may it be overtaken.
            delay = self._subscription.retry.max_delay
            logger.error(
                "{}: {} cannot go to its dead letters, and comes again in {:.1f} s: {}",
                self._queue,
                _named(delivery.message),
                delay,
                error,
            )
            await delivery.retry(delay)
            return "retry"
        return "dead"

    def _log(self, message: Message, failure: BaseException, then: str) -> None:
        attempts = self._subscription.retry.attempts
        known = isinstance(failure, HrpcError)
        log = logger if known else logger.opt(exception=failure)
        said = str(failure) if known else type(failure).__name__
        log.warning(
            "{}: {}, attempt {} of {}, failed and {}: {}",
            self._queue,
            _named(message),
            message.attempt,
            attempts,
            then,
            said,
        )

    def _attributes(self, message: Message) -> dict[str, str | int]:
        # https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
        found: dict[str, str | int] = {
            "messaging.destination.name": message.topic,
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.message.id": message.id,
        }
        if self._group:
            found["messaging.consumer.group.name"] = self._group
        return found

    def _count(self, topic: str, by: int) -> None:
        self._in_flight[topic] += by
        metrics.set(_IN_FLIGHT, self._in_flight[topic], queue=self._queue, topic=topic, group=self._group)


def _named(message: Message) -> str:
    return f"message {message.topic} {message.id}"
