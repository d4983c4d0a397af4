"""The headers and properties of a message: what handlers read, and what is kept when it is published again."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pamqp.commands import Basic

from hrpc.queues import Message

ATTEMPT = "hrpc-attempt"
"""How often the message was tried already; not there at the first time."""
EXCHANGE, ROUTING_KEY = "hrpc-exchange", "hrpc-routing-key"
"""Where it was published to, from its second attempt on: the broker then only knows the queue in which it waited."""
DEAD_REASON, DEAD_ERROR, DEAD_QUEUE = "hrpc-dead-reason", "hrpc-dead-error", "hrpc-dead-queue"
DEAD_ATTEMPTS, DEAD_AT = "hrpc-dead-attempts", "hrpc-dead-at"

_LONGEST_REASON = 1000
# Those with "death" are RabbitMQ's account of its own dead-lettering, by which it drops what goes in a circle; CC and
# BCC would have the message delivered once more to all whom it was sent to.
_NOT_KEPT = frozenset({"x-death", "CC", "BCC", "x-delivery-count", "x-acquired-count"})
_DEATH = ("x-first-death-", "x-last-death-")
_PERSISTENT, _TRANSIENT = 2, 1


def readable(headers: Mapping[str, Any] | None) -> dict[str, str]:
    """Headers as text: numbers as well; tables, lists and bytes that are no text are only in the raw message."""
    if not headers:
        return {}
    found = {}
    for key, value in headers.items():
        if type(value) is str:
            found[key] = value
        elif isinstance(value, bool):
            found[key] = str(value).lower()
        elif isinstance(value, int | float):
            found[key] = str(value)
        elif isinstance(value, bytes | bytearray):
            try:
                found[key] = value.decode()
            except UnicodeDecodeError:
                continue
    return found


def attempt(headers: Mapping[str, Any] | None) -> int:
    """Which attempt a delivery with these headers is."""
    tried = headers.get(ATTEMPT) if headers else None
    return 1 + tried if type(tried) is int and tried > 0 else 1


def new(
    headers: Mapping[str, Any],
    *,
    id: str | None,
    persistent: bool,
    expires: float | None,
    priority: int | None,
    content_type: str | None,
    correlation_id: str | None,
    reply_to: str | None,
    type: str | None,
) -> Basic.Properties:
    """The properties of a message that is published for the first time."""
    return Basic.Properties(
        headers=dict(headers),
        message_id=id or uuid.uuid4().hex,
        timestamp=datetime.now(UTC),
        delivery_mode=_PERSISTENT if persistent else _TRANSIENT,
        expiration=_milliseconds(expires),
        priority=priority,
        content_type=content_type,
        correlation_id=correlation_id,
        reply_to=reply_to,
        message_type=type,
    )


def again(given: Basic.Properties, added: Mapping[str, Any], expires: float | None = None) -> Basic.Properties:
    """The properties of a message that was delivered, to publish it once more, with further headers.

    Not kept are its time limit, which has been met, and its user, whom the broker takes from that user only.
    """
    kept = {
        key: value
        for key, value in (given.headers or {}).items()
        if key not in _NOT_KEPT and not key.startswith(_DEATH)
    }
    return Basic.Properties(
        headers={**kept, **added},
        message_id=given.message_id,
        timestamp=given.timestamp,
        delivery_mode=_PERSISTENT,
        expiration=_milliseconds(expires),
        priority=given.priority,
        content_type=given.content_type,
        content_encoding=given.content_encoding,
        correlation_id=given.correlation_id,
        reply_to=given.reply_to,
        message_type=given.message_type,
        app_id=given.app_id,
    )


def tried(message: Message) -> dict[str, Any]:
    """What to add to a message that is to be tried once more."""
    given = message.headers
    return {
        ATTEMPT: message.attempt,
        EXCHANGE: given.get(EXCHANGE, message.raw.exchange or ""),
        ROUTING_KEY: given.get(ROUTING_KEY, message.raw.routing_key or ""),
    }


def dead(message: Message, reason: BaseException | str) -> dict[str, Any]:
    """Why a message is among the dead letters, and where it came from."""
    found = {
        DEAD_REASON: str(reason)[:_LONGEST_REASON],
        DEAD_QUEUE: message.topic,
        DEAD_ATTEMPTS: message.attempt,
        EXCHANGE: message.headers.get(EXCHANGE, message.raw.exchange or ""),
        ROUTING_KEY: message.headers.get(ROUTING_KEY, message.raw.routing_key or ""),
        DEAD_AT: datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return found if isinstance(reason, str) else {DEAD_ERROR: type(reason).__qualname__, **found}


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else str(max(0, round(seconds * 1000)))
