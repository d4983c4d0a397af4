"""What a service wants of a queue: which messages, who handles them, and what happens when that fails."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.queues.message import Message

Handler: TypeAlias = Callable[[Message], Awaitable[object] | object]
"""Handles a message; one that is not a coroutine function runs in a thread."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a message is tried, and after how many seconds again: `base`, `factor` times that, and so on up to
    `max_delay`; of this, at random something between nothing and all, so that messages do not come again at once.
    """

    attempts: int = 5
    """With the first one; when the last has failed, the message goes to the dead letters."""
    base: float = 0.5
    factor: float = 2.0
    max_delay: float = 30.0

    def __post_init__(self) -> None:
        checks.count("hrpc.queues.Retry", "attempts", self.attempts, 1)
        checks.seconds("hrpc.queues.Retry", "base", self.base)
        checks.seconds("hrpc.queues.Retry", "max_delay", self.max_delay)
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float) or not 1 <= self.factor <= 1000:
            raise OptionError(f"hrpc.queues.Retry(factor={self.factor!r}): takes a number from 1 to 1000")

    def delay(self, attempt: int) -> float:
        """Seconds to wait when this attempt has failed (full jitter)."""
        # No power of a large number, which a float cannot hold.
        grown = self.factor ** min(attempt - 1, 100)
        return random.uniform(0.0, min(self.max_delay, self.base * grown))


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is consumed; `kafka.consume(…)` and `rabbitmq.consume(…)` make it. Raises `OptionError`."""

    topics: tuple[str, ...]
    """Topics of Kafka, or queues of RabbitMQ."""
    handler: Handler
    group: str | None = None
    """Who shares the messages, where the broker knows groups."""
    concurrency: int = 1
    """How many messages are handled at a time. The order that a broker promises is kept all the same."""
    timeout: float | None = None
    """Seconds for one message, after which its handler is cancelled, which counts as a failure; None for no limit."""
    retry: Retry = field(default_factory=Retry)
    dead_letter: str | None = "{topic}.dead"
    """Where messages go that could not be handled; ``{topic}`` and ``{group}`` are filled in. With None they are
    dropped, which the log tells."""

    def __post_init__(self) -> None:
        option = "consume"
        if not self.topics:
            raise OptionError(f"{option}: needs at least one topic or queue")
        for topic in self.topics:
            checks.text(option, "topic", topic)
        if not callable(self.handler):
            raise OptionError(f"{option}: the handler takes a message; {self.handler!r} cannot be called")
        if self.group is not None:
            checks.text(option, "group", self.group)
        checks.count(option, "concurrency", self.concurrency, 1, 10_000)
        if self.timeout is not None and not checks.seconds(option, "timeout", self.timeout):
            raise OptionError(f"{option}(timeout=0): takes seconds above 0, or None for no limit")
        if not isinstance(self.retry, Retry):
            raise OptionError(f"{option}(retry={self.retry!r}): takes an hrpc.queues.Retry")
        if self.dead_letter is not None:
            checks.text(option, "dead_letter", self.dead_letter)
            taken = [topic for topic in self.topics if self.dead_letter_of(topic) in self.topics]
            if taken:
                raise OptionError(
                    f"{option}(dead_letter={self.dead_letter!r}): {taken[0]!r} would get its own dead letters to handle"
                )

    def dead_letter_of(self, topic: str) -> str | None:
        """Where messages of this topic go that could not be handled; None when they are dropped."""
        if self.dead_letter is None:
            return None
        return self.dead_letter.replace("{topic}", topic).replace("{group}", self.group or "")

    @property
    def name(self) -> str:
        """For people: ``orders, refunds (billing)``."""
        topics = ", ".join(self.topics)
        return f"{topics} ({self.group})" if self.group else topics
