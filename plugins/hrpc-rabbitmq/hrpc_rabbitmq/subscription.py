"""What is consumed from RabbitMQ: queues, what feeds them, and how they are declared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.queues import Handler, Retry, Subscription

_OPTION = "hrpc_rabbitmq.consume"
_TYPES = ("direct", "fanout", "topic", "headers")
_NAME = re.compile(r"[A-Za-z0-9_.:@#,/+ -]{1,200}", re.ASCII)
"""What the library takes; AMQP's limit is 255 bytes, and the names of the queues beside one are longer than its own."""
LONGEST_DELAY = 24 * 3600.0
"""Seconds for which a message can wait for its next attempt."""
_LEAST_PREFETCH, _MOST_PREFETCH = 10, 65535


@dataclass(frozen=True, slots=True)
class Binding:
    """What else goes to a queue: the messages of an exchange whose routing key matches. Raises `OptionError`.

    ::

        rabbitmq.consume("audit", on_event, bindings=[rabbitmq.Binding("events", "order.*", type="topic")])
    """

    exchange: str
    routing_key: str = ""
    type: str | None = None
    """That of the exchange, which is then declared as well: ``direct``, ``fanout``, ``topic`` or ``headers``. Without
    one it has to be there."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Those of the binding, as an exchange of the type ``headers`` has."""

    def __post_init__(self) -> None:
        checked_name("hrpc_rabbitmq.Binding", self.exchange)
        if not isinstance(self.routing_key, str):
            raise OptionError(f"hrpc_rabbitmq.Binding(routing_key={self.routing_key!r}): takes text")
        if self.type is not None:
            exchange_type("hrpc_rabbitmq.Binding", self.type)


@dataclass(frozen=True, slots=True)
class RabbitSubscription(Subscription):
    """What `consume` makes: an `hrpc.queues.Subscription` with what RabbitMQ knows beside."""

    prefetch: int = 0
    bindings: tuple[Binding, ...] = ()
    declare: bool = True
    quorum: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Subscription.__post_init__(self)
        for queue in (*self.topics, *filter(None, map(self.dead_letter_of, self.topics))):
            checked_name(_OPTION, queue)
        if self.retry.max_delay > LONGEST_DELAY:
            raise OptionError(
                f"{_OPTION}(retry=…): max_delay={self.retry.max_delay:g} is more than {LONGEST_DELAY:g}, a day, for "
                "which a message can wait"
            )
        if self.prefetch:
            checks.count(_OPTION, "prefetch", self.prefetch, self.concurrency, _MOST_PREFETCH)
        for binding in self.bindings:
            if not isinstance(binding, Binding):
                raise OptionError(f"{_OPTION}(bindings=…): takes hrpc_rabbitmq.Binding(…), not {binding!r}")
        if "x-queue-type" in self.arguments:
            raise OptionError(f"{_OPTION}(arguments=…): for x-queue-type, there is quorum=True")

    @property
    def window(self) -> int:
        """How many messages the broker hands out before one of them has its end."""
        return self.prefetch or min(_MOST_PREFETCH, max(_LEAST_PREFETCH, 2 * self.concurrency))


def consume(
    queue: str | Sequence[str],
    handler: Handler,
    *,
    concurrency: int = 1,
    prefetch: int | None = None,
    timeout: float | None = None,
    retry: Retry | None = None,
    dead_letter: str | None = "{queue}.dead",
    bindings: Sequence[Binding] = (),
    declare: bool = True,
    quorum: bool = False,
    arguments: Mapping[str, Any] | None = None,
) -> RabbitSubscription:
    """What a service consumes, for `new`: the messages of a queue, or of several, go to `handler`.

    ::

        rabbitmq.consume("orders", on_order, concurrency=8, timeout=30)
        rabbitmq.consume("audit", on_event, bindings=[rabbitmq.Binding("events", "order.*", type="topic")])

    A message is acknowledged when the handler has returned. When it has raised, or has taken longer than `timeout`
    seconds, it comes again as `retry` says, and after the last attempt goes to the queue `dead_letter`, in which
    ``{queue}`` stands for the name; with None it is rejected: dropped, or what the queue's own policy says.

    `concurrency` messages are handled at a time. `prefetch` is how many the broker hands out before one is
    acknowledged: twice the concurrency when not given, at least 10. For handlers that take minutes, give as many as
    the concurrency, since the broker takes back what waits for more than its ``consumer_timeout``.

    The queue, those for its retries and its dead letters are declared durable, of the type quorum if `quorum`;
    `arguments` are those of the queue itself; None takes one of ours away. With ``declare=False`` they have to be
    there. Raises `OptionError`.
    """
    topics = (queue,) if isinstance(queue, str) else tuple(queue)
    return RabbitSubscription(
        topics,
        handler,
        concurrency=concurrency,
        timeout=timeout,
        retry=Retry() if retry is None else retry,
        dead_letter=None if dead_letter is None else dead_letter.replace("{queue}", "{topic}"),
        prefetch=prefetch or 0,
        bindings=tuple(bindings),
        declare=declare,
        quorum=quorum,
        arguments=dict(arguments or {}),
    )


def checked_name(option: str, name: object) -> str:
    """The name of a queue or an exchange."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(
            f"{option}({name!r}): takes a name of at most 200 letters, digits, spaces, and _ . : @ # , / + -"
        )
    return name


def exchange_type(option: str, type: str) -> str:
    """The type of an exchange; a plugin of the broker may bring its own, which begin with ``x-``."""
    if not isinstance(type, str) or (type not in _TYPES and not type.startswith("x-")):
        raise OptionError(f"{option}(type={type!r}): takes {', '.join(_TYPES)}, or that of a plugin, as in x-…")
    return type
