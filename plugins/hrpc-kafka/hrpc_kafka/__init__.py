"""Kafka for hrpc services: producing, and group consumers in the life of the server.

::

    import hrpc_kafka as kafka

    async def on_order(message: hrpc.queues.Message) -> None:           # an error: not committed, it comes again
        order = message.json(Order)
        await mysql.get().execute("INSERT …", order.id)

    server = hrpc.new_server(
        ...,
        hrpc.with_message_queues(kafka.new(kafka.consume("orders", on_order, group="billing"))),
    )
    await kafka.get().produce("orders", b"…", key=b"7")                 # in a handler, a job or a hook
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Unpack, cast

import hrpc
from hrpc.plugin import Plugin
from hrpc.queues import Broker, Recipe, new_recipe
from hrpc.queues.adapter import Slots
from hrpc_kafka.settings import KafkaOptions, KafkaSettings
from hrpc_kafka.subscription import KafkaSubscription, consume

if TYPE_CHECKING:
    from hrpc_kafka.producing import Kafka

__all__ = ["KafkaOptions", "KafkaPlugin", "KafkaSettings", "KafkaSubscription", "consume", "get", "new"]

slots: Slots[Kafka] = Slots("kafka", "hrpc.with_message_queues(kafka.new({}))")
slot = slots.own


def new(
    *subscriptions: KafkaSubscription, name: str | None = None, **settings: Unpack[KafkaOptions]
) -> Recipe[KafkaSettings]:
    """The recipe for Kafka, to pass to ``hrpc.with_message_queues``.

    ::

        kafka.new(kafka.consume("orders", on_order, group="billing"))   # everything from Consul KV
        kafka.new(brokers="10.0.0.7,10.0.0.8:9093")                     # nothing from Consul KV; sends only

    Without a `name` it is called ``kafka``. The name is what `get` takes, the end of the key
    ``{env}/messagequeues/{name}`` in Consul KV, and what probes, metrics and errors call it.

    The settings and their defaults are those of `KafkaSettings`; None is as not given. With `brokers` in code, nothing
    is read from Consul. Raises `OptionError` for an unknown setting or a name that cannot be, and `InvalidConfig` for a
    value that cannot be.
    """
    called = "kafka" if name is None else name

    def connect(complete: KafkaSettings) -> AbstractAsyncContextManager[Broker]:
        from hrpc_kafka.broker import opened  # and with it aiokafka, which only a running server needs

        return opened(complete, called)

    given = cast(dict[str, Any], settings)
    return new_recipe(slots, name, KafkaSettings, given, subscriptions, connect, address="brokers")


def get(name: str | None = None) -> Kafka:
    """What sends, of the running server's Kafka or the one of this name. Raises `NotRunning` where there is none."""
    return slots.get(name)


class KafkaPlugin(Plugin):
    """What ``hrpc.with_plugins("hrpc-kafka")`` loads: the Kafka of Consul KV, to send to.

    A service that consumes, or has settings in code, passes ``kafka.new(…)`` to `hrpc.with_message_queues` instead.
    """

    name = "hrpc-kafka"

    def __init__(self) -> None:
        self.options = (hrpc.with_message_queues(new()),)
