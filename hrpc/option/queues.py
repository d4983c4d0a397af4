"""The option for message queues."""

from __future__ import annotations

from hrpc.abc import MessageQueue
from hrpc.errors import OptionError
from hrpc.option.settings import Option


def with_message_queues(*queues: MessageQueue) -> Option:
    """The message queues to send to and to consume from: ``kafka.new(…)`` and ``rabbitmq.new(…)`` of the plugins.

    They are opened when the server starts, after the databases. Consumers run while calls are served; when the server
    drains, they take no further message, and running handlers have its grace.
    """
    for queue in queues:
        opens = callable(getattr(queue, "open", None))
        if opens and not hasattr(queue, "subscriptions"):
            raise OptionError(f"hrpc.with_message_queues: {queue.name!r} is a database: pass it to hrpc.with_databases")
        if not opens:
            raise OptionError(f"hrpc.with_message_queues: takes kafka.new(…) or rabbitmq.new(…), not {queue!r}")
    return Option("with_message_queues", {"message_queues": queues})
