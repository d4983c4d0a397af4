"""RabbitMQ for hrpc services: publishing, and consumers in the life of the server.

::

    import hrpc_rabbitmq as rabbitmq

    async def on_order(message: hrpc.queues.Message) -> None:           # an error: it comes again
        order = message.json(Order)
        await mysql.get().execute("INSERT …", order.id)

    server = hrpc.new_server(
        ...,
        hrpc.with_message_queues(rabbitmq.new(rabbitmq.consume("orders", on_order))),
    )
    await rabbitmq.get().publish("", b"…", routing_key="orders")        # in a handler, a job or a hook
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Unpack, cast

import hrpc
from hrpc.plugin import Plugin
from hrpc.queues import Broker, Recipe, new_recipe
from hrpc.queues.adapter import Slots
from hrpc_rabbitmq.settings import RabbitOptions, RabbitSettings
from hrpc_rabbitmq.subscription import Binding, RabbitSubscription, checked_name, consume, exchange_type

if TYPE_CHECKING:
    from hrpc_rabbitmq.publishing import Client

__all__ = [
    "Binding",
    "RabbitOptions",
    "RabbitPlugin",
    "RabbitSettings",
    "RabbitSubscription",
    "consume",
    "get",
    "new",
]

slots: Slots[Client] = Slots("rabbitmq", "hrpc.with_message_queues(rabbitmq.new({}))")
slot = slots.own


def new(
    *subscriptions: RabbitSubscription,
    name: str | None = None,
    exchanges: Mapping[str, str] | None = None,
    **settings: Unpack[RabbitOptions],
) -> Recipe[RabbitSettings]:
    """The recipe for RabbitMQ, to pass to ``hrpc.with_message_queues``.

    ::

        rabbitmq.new(rabbitmq.consume("orders", on_order))              # everything from Consul KV
        rabbitmq.new(address="10.0.0.7", username="orders", password=…) # nothing from Consul KV; publishes only
        rabbitmq.new(exchanges={"events": "topic"})                     # declares what it publishes to

    Without a `name` it is called ``rabbitmq``. The name is what `get` takes, the end of the key
    ``{env}/messagequeues/{name}`` in Consul KV, and what probes, metrics and errors call it. `exchanges` are those that
    the service publishes to, with their types; they are declared durable when it starts.

    The settings and their defaults are those of `RabbitSettings`; None is as not given. With an `address` in code,
    nothing is read from Consul. Raises `OptionError` for an unknown setting or a name that cannot be, and
    `InvalidConfig` for a value that cannot be.
    """
    declared = {
        checked_name("rabbitmq.new(exchanges=…)", exchange): exchange_type(f"rabbitmq.new({exchange!r})", type)
        for exchange, type in (exchanges or {}).items()
    }
    called = "rabbitmq" if name is None else name

    def connect(complete: RabbitSettings) -> AbstractAsyncContextManager[Broker]:
        from hrpc_rabbitmq.broker import opened  # and with it aio-pika, which only a running server needs

        return opened(complete, called, subscriptions, declared)

    given = cast(dict[str, Any], settings)
    return new_recipe(slots, name, RabbitSettings, given, subscriptions, connect, address="address")


def get(name: str | None = None) -> Client:
    """What publishes, of the running server's RabbitMQ, or of the one of this name.

    Raises `NotRunning` where there is none.
    """
    return slots.get(name)


class RabbitPlugin(Plugin):
    """What ``hrpc.with_plugins("hrpc-rabbitmq")`` loads: the RabbitMQ of Consul KV, to publish to.

    A service that consumes, or has settings in code, passes ``rabbitmq.new(…)`` to `hrpc.with_message_queues` instead.
    """

    name = "hrpc-rabbitmq"

    def __init__(self) -> None:
        self.options = (hrpc.with_message_queues(new()),)
