"""What happens around a message: its context and trace, its time limit, what becomes of it, metrics, the log."""

from __future__ import annotations

import asyncio
import copy
import inspect
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from loguru import logger

from hrpc import _runtime, context, from_thread, life
from hrpc.errors import HandlerTimeout, HrpcError, QueueError, Reject
from hrpc.queues import carried
from hrpc.queues.contract import Delivery
from hrpc.queues.measured import measured
from hrpc.queues.message import Message
from hrpc.queues.subscription import Subscription

_LEAST_PAUSE = 0.5
"""Seconds after which burying is tried again, also where there are no pauses between attempts."""


class Handling:
    """Handles the messages of one subscription."""

    def __init__(self, queue: str, subscription: Subscription) -> None:
        """`queue` is the name of the message queue, for metrics and the log."""
        self._queue = queue
        self._subscription = subscription
        self._group = subscription.group or ""
        self._is_async = life.is_async(subscription.handler)

    async def handle(self, delivery: Delivery) -> None:
        """Handles one message, and tells the broker. It raises nothing but a cancellation, by which the message has no
        end: it comes again."""
        message, measures = delivery.message, measured()
        labels = self._queue, message.topic, self._group
        outcome, failure = "", None
        measures.begin(labels)
        began = time.perf_counter()
        with context.entered(carried.received(message.headers, self._subscription.timeout)) as current:
            current.method = f"{self._queue}:{message.topic}"
            tracer = _runtime.tracer()
            span = None if tracer is None else tracer.consuming(current, message.topic, self._attributes(message))
            try:
                failure = await self._failure(message)
                measures.handled(labels, time.perf_counter() - began)
                with _without_deadline(current):
                    outcome = await self._tell(delivery, failure)
            except asyncio.CancelledError as error:
                failure = error
                raise
            finally:
                measures.end(labels, outcome)
                if span is not None:
                    span.end(failure)

    async def _failure(self, message: Message) -> BaseException | None:
        """What the handler has raised, if anything."""
        limit = asyncio.timeout(self._subscription.timeout)
        try:
            if self._subscription.timeout is None:
                await self._called(message)
            else:
                async with limit:
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
        if self._is_async:
            await handler(message)
            return
        with from_thread.reachable():
            result = await life.in_daemon_thread(lambda: handler(message))
            if inspect.isawaitable(result):
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
            delay = max(_LEAST_PAUSE, self._subscription.retry.max_delay)
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


def _without_deadline(current: context.Context) -> AbstractContextManager[object]:
    """The same context without the deadline, which is the handler's: what took too long has its end to be told all the
    same."""
    if current.deadline is None:
        return nullcontext()
    # A copy: a thread of the handler that goes on keeps its deadline.
    lasting = copy.copy(current)
    lasting.deadline = None
    return context.entered(lasting)


def _named(message: Message) -> str:
    return f"message {message.topic} {message.id}"
