"""Message queues: what handlers of messages see, and what a plugin for a broker builds on.

::

    import hrpc_kafka as kafka                                          # pip install hrpc-kafka

    async def on_order(message: hrpc.queues.Message) -> None:           # an error: not committed, it comes again
        order = message.json(Order)
        await mysql.get().execute("INSERT …", order.id)

    server = hrpc.new_server(
        ...,
        hrpc.with_message_queues(kafka.new(kafka.consume("orders", on_order, group="billing"))),
    )
    await kafka.get().produce("orders", b"…", key=b"7")                 # in a handler, a job or a hook

Delivery is at least once: a message is committed when its handler has returned, and comes again when it has raised, has
taken too long, or when the process ended meanwhile.
"""

from hrpc.errors import QueueError, QueueRefused, QueueUnavailable, Reject
from hrpc.queues.carried import sending
from hrpc.queues.contract import Broker, Delivery
from hrpc.queues.message import Message
from hrpc.queues.recipe import Recipe, new_recipe
from hrpc.queues.subscription import Handler, Retry, Subscription

__all__ = [
    "Broker",
    "Delivery",
    "Handler",
    "Message",
    "QueueError",
    "QueueRefused",
    "QueueUnavailable",
    "Recipe",
    "Reject",
    "Retry",
    "Subscription",
    "new_recipe",
    "sending",
]
