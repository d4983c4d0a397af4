"""Tells what aio-pika and aiormq raise: the broker is away, or it refuses us."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPConnectionError,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionClosed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)

from hrpc.errors import QueueError, QueueRefused, QueueUnavailable
from hrpc.queues.adapter import certificate_problem
from hrpc_rabbitmq.settings import RabbitSettings

FAILURES = (*CONNECTION_EXCEPTIONS, asyncio.CancelledError)
"""What the library raises when a connection or a channel ends. One that is closed may cancel whoever waits for it: see
`pass_cancel`."""


def pass_cancel(error: BaseException) -> None:
    """Raises a cancellation of the current task, and not one by which the library says that a channel has ended."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error


@contextmanager
def cancellable() -> Iterator[None]:
    """Around what opens and closes connections and channels: the library may swallow a cancellation of the current task
    there, or raise what fails on account of it."""
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    except FAILURES as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def unavailable(settings: RabbitSettings, message: str) -> QueueUnavailable:
    """The broker is away, or too slow."""
    return settings.fault(QueueUnavailable, f"{settings.place}: {message}")


def refused(settings: RabbitSettings, message: str) -> QueueRefused:
    """The broker was reached and says no."""
    return settings.fault(QueueRefused, f"{settings.place}: {message}")


def not_connected(settings: RabbitSettings, error: BaseException) -> QueueError:
    """What an error while connecting means."""
    if (problem := certificate_problem(error)) is not None:
        return refused(
            settings, f"TLS failed: {problem}; check 'tls_ca' in {settings.origin}, and the server's certificate"
        )
    words = said(error)
    if isinstance(error, ProbableAuthenticationError):
        return refused(
            settings,
            f"user {settings.username!r} is not let in: {words}; check 'username' and 'password' in {settings.origin}",
        )
    if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in words and "Connection.Close" in words:
        # aiormq does not say what the broker has said.
        return refused(
            settings,
            f"has no such virtual host, or user {settings.username!r} may not use it; check 'vhost' and 'username' in "
            f"{settings.origin}",
        )
    if isinstance(error, InvalidFrameError):
        return refused(
            settings,
            f"answers, but not as expected: {words}; check 'address', 'port' and 'tls' in {settings.origin}, and that "
            "RabbitMQ listens there",
        )
    return unavailable(settings, f"no answer: {words}; check that the broker runs, address and port")


def lost(settings: RabbitSettings, error: BaseException | None) -> QueueError:
    """What the end of a connection or a channel means."""
    words = "the connection was closed" if error is None else said(error)
    return unavailable(settings, words)


def not_declared(settings: RabbitSettings, what: str, error: BaseException) -> QueueError:
    """What it means that something could not be declared; `what` names it, as in ``queue 'orders'``."""
    words = said(error)
    if isinstance(error, ChannelPreconditionFailed):
        return refused(
            settings,
            f"{what} is there already and is another one: {words}; say in hrpc_rabbitmq.consume what it is like "
            "(quorum=…, arguments=…), take it as it is (declare=False), or delete it",
        )
    if isinstance(error, ChannelNotFoundEntity):
        return refused(settings, f"{what} is not there: {words}; make it, or let consume declare it (declare=True)")
    if isinstance(error, ChannelClosed):
        return refused(settings, f"{what}: {words}")
    return lost(settings, error)


def not_published(settings: RabbitSettings, where: str, error: BaseException) -> QueueError:
    """What it means that the broker did not take a message for `where`."""
    if isinstance(error, PublishError):
        return refused(
            settings,
            f"no queue takes what is published to {where}: declare or bind one, or publish with mandatory=False",
        )
    if isinstance(error, ChannelNotFoundEntity):
        return refused(settings, f"cannot publish to {where}: {said(error)}; declare it with new(exchanges={{…}})")
    if isinstance(error, DeliveryError):
        return refused(settings, f"did not take a message for {where}: a queue is full, or has failed")
    return refused(settings, f"cannot publish to {where}: {said(error)}")


def reason(error: QueueError) -> str:
    """An error without its place, for one that names it already."""
    return str(error).partition(": ")[2] or str(error)


def said(error: BaseException) -> str:
    """The broker's own words where there are some, in one line."""
    if isinstance(error, TimeoutError):
        return str(error) or "nothing within the limit"
    if isinstance(error, ConnectionClosed | ChannelClosed) and error.args:
        return str(error.args[-1]).strip() or type(error).__name__
    if isinstance(error, AMQPConnectionError) and isinstance(error.__cause__, OSError):
        return str(error.__cause__)
    return str(error).strip() or type(error).__name__
