"""A message, as its handler gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from hrpc.configs import decoding

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Its `repr` shows neither body nor headers, which may hold what nobody else is to see."""

    topic: str
    """Where it was taken from: the topic of Kafka, the queue of RabbitMQ."""
    body: bytes = field(repr=False)
    key: bytes | None = field(default=None, repr=False)
    """Messages with the same key come in order, where the broker knows keys."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    attempt: int = 1
    """1 at the first delivery; one more each time that its handler has failed."""
    id: str = ""
    """What tells it from all others of its topic: ``0/17`` is offset 17 of partition 0 of Kafka."""
    timestamp: float | None = None
    """When it was sent, in seconds since 1970, as far as that is known."""
    raw: Any = field(default=None, repr=False)
    """What the library of the broker has given."""

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, type: type[T]) -> T: ...
    def json(self, type: type[Any] = object) -> Any:
        """The body's JSON as a `type`: what `configs.get` takes, such as ``dict``, a dataclass, or a pydantic model.

        Raises `InvalidConfig`, whose message does not show the body.
        """
        return decoding.read_text(type, f"message {self.topic} {self.id}".strip(), self.body, hidden=True)
