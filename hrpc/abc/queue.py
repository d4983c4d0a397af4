"""Message queues."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from hrpc.abc.database import StoredSettings


class MessageQueue(Protocol):
    """The recipe for a message queue: what ``kafka.new(…)`` and ``rabbitmq.new(…)`` give. It holds no connection."""

    @property
    def name(self) -> str:
        """The name, also that of the KV key ``{env}/messagequeues/{name}``."""

    @property
    def slot(self) -> Any:
        """The place from which the plugin's ``get()`` reads; it holds the open broker's `client`."""

    @property
    def needs_settings(self) -> bool:
        """Whether the settings have to come from the configuration center, because none were given in code."""

    @property
    def subscriptions(self) -> Sequence[Any]:
        """What is consumed, each an `hrpc.queues.Subscription`."""

    def open(self, stored: StoredSettings | None) -> AbstractAsyncContextManager[Any]:
        """Connects once, so that a mistake shows at the start, and gives an `hrpc.queues.Broker`; closes it at the end.

        Raises `InvalidConfig`, `QueueUnavailable` or `QueueRefused`.
        """
