"""The errors of message queues."""

from __future__ import annotations

from hrpc.errors.root import HrpcError


class QueueError(HrpcError):
    """A message queue cannot be used. `origin` is where its settings stand, when it is known."""

    origin: str | None = None


class QueueUnavailable(QueueError):
    """The brokers are away, or do not answer in time. A call that ends with this error answers UNAVAILABLE."""


class QueueRefused(QueueError):
    """The brokers were reached but do not let us in, or not to this topic or queue; or they do not take the message."""


class HandlerTimeout(QueueError, TimeoutError):
    """A handler of messages took longer than its subscription allows: what the log and the dead letter tell."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"its handler has not ended within {limit:g} s, the timeout of its subscription")
        self.limit = limit


class Reject(HrpcError):
    """Raised by a handler of messages: this one is never going to be handled, so it goes to the dead letters at once.

    ::

        async def on_order(message):
            order = message.json(Order)
            if order.total < 0:
                raise hrpc.queues.Reject(f"order {order.id} has a negative total")
    """
