"""A message queue in memory, which writes down what becomes of its messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from hrpc import _runtime
from hrpc.queues import Message, Subscription, sending


@dataclass
class Memory:
    """An `hrpc.abc.MessageQueue` and its own broker and client."""

    subscriptions: tuple[Subscription, ...] = ()
    name: str = "memory"
    needs_settings: bool = False
    slot: Any = field(default_factory=lambda: _runtime.Slot("memory", "…"))
    happened: list[str] = field(default_factory=list)
    away: Exception | None = None
    """Raised by everything that reaches for the broker."""
    buries: bool = True
    """Whether dead letters are taken."""
    on_end: Callable[[], None] = lambda: None
    """Called in the task that tells what becomes of a message."""
    consuming: int = 0
    stored: Any = None

    def __post_init__(self) -> None:
        self.waiting: dict[str, asyncio.Queue[Message | Exception]] = {}
        self.changed = asyncio.Event()
        self.sent = 0
        self.delays: list[float] = []
        """After how many seconds messages were to come again; they do so at once."""

    @property
    def client(self) -> Memory:
        return self

    @asynccontextmanager
    async def open(self, stored: Any) -> AsyncIterator[Memory]:
        self.stored = stored
        self._reach()
        yield self
        self.happened.append("closed")

    async def ping(self) -> None:
        self._reach()

    async def produce(self, topic: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> None:
        with sending(self.name, topic, headers) as carried:
            self._reach()
            self.sent += 1
            self.of(topic).put_nowait(Message(topic, body, headers=carried, id=str(self.sent)))

    def of(self, topic: str) -> asyncio.Queue[Message | Exception]:
        return self.waiting.setdefault(topic, asyncio.Queue())

    def tell(self, what: str) -> None:
        self.happened.append(what)
        self.changed.set()

    async def until(self, *happened: str) -> None:
        """Waits until this is what has happened."""
        async with asyncio.timeout(10):
            while self.happened != list(happened):
                self.changed.clear()
                await self.changed.wait()

    @asynccontextmanager
    async def consume(self, subscription: Subscription) -> AsyncIterator[AsyncIterator[Delivered]]:
        self._reach()
        self.consuming += 1
        self.changed.set()
        try:
            yield self._deliveries(subscription)
        finally:
            self.consuming -= 1

    async def _deliveries(self, subscription: Subscription) -> AsyncIterator[Delivered]:
        (topic,) = subscription.topics
        while True:
            found = await self.of(topic).get()
            if isinstance(found, Exception):
                raise found
            yield Delivered(found, self, subscription)

    def _reach(self) -> None:
        if self.away is not None:
            raise self.away


@dataclass
class Delivered:
    """An `hrpc.queues.Delivery`."""

    message: Message
    queue: Memory
    subscription: Subscription

    async def done(self) -> None:
        self.queue.on_end()
        self.queue._reach()
        self.queue.tell(f"done {self.message.id}")

    async def retry(self, delay: float) -> None:
        self.queue.on_end()
        self.queue._reach()
        self.queue.delays.append(delay)
        self.queue.tell(f"retry {self.message.id}")
        again = replace(self.message, attempt=self.message.attempt + 1)
        self.queue.of(self.message.topic).put_nowait(again)

    async def bury(self, reason: BaseException | str) -> None:
        from hrpc.errors import QueueUnavailable

        self.queue.on_end()
        if not self.queue.buries:
            raise QueueUnavailable("no dead letters today")
        self.queue._reach()
        letter = self.subscription.dead_letter_of(self.message.topic)
        self.queue.tell(f"dead {self.message.id} in {letter}: {reason}")
