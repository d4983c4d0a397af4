"""What a plugin for a broker provides: an open connection, and deliveries from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from hrpc.queues.message import Message
from hrpc.queues.subscription import Subscription


class Delivery(Protocol):
    """A message that waits for its end. Of the three methods, one is called, once, in any task (after a `bury` that
    has raised, `retry`); none when the server stops meanwhile: the message then comes again, to whoever consumes next.

    Each may raise `QueueError`: the message then comes again as well.
    """

    @property
    def message(self) -> Message:
        """What was delivered."""

    async def done(self) -> None:
        """It is handled: committed, acknowledged."""

    async def retry(self, delay: float) -> None:
        """It comes again, with ``attempt + 1``, after `delay` seconds. Returns at once: who waits is the broker, or a
        task of the transport."""

    async def bury(self, reason: BaseException | str) -> None:
        """It goes to the dead letters (`Subscription.dead_letter_of`) with the reason, and is then as handled."""


class Broker(Protocol):
    """An open message queue."""

    @property
    def client(self) -> object:
        """What the plugin's ``get()`` gives: it sends, each message within `hrpc.queues.sending`."""

    async def ping(self) -> None:
        """Asks for a sign of life; raises `QueueUnavailable` without one."""

    def consume(self, subscription: Subscription) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Begins to consume. Iterating waits for the next message that may be handled now, and is cancelled at a stop;
        ``aclose()`` of the iterator, where there is one, is called then: nobody is going to ask for the next message,
        while those that are handled have their end to come. The context is left when the handlers have ended, and gives
        back what was delivered and has no end yet.

        An error, at the beginning or while iterating, is told, and consuming begins anew after a pause.
        """
