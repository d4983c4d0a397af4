"""The recipe for a message queue, with its subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from hrpc import recipe
from hrpc._runtime import Slots
from hrpc.errors import OptionError
from hrpc.queues.contract import Broker
from hrpc.queues.subscription import Subscription
from hrpc.recipe.settings import S


@dataclass(frozen=True, slots=True)
class Recipe(recipe.Recipe[S, Broker]):
    """What ``kafka.new()`` and ``rabbitmq.new()`` give: an `hrpc.abc.MessageQueue`."""

    subscriptions: tuple[Subscription, ...] = ()


def new_recipe(
    slots: Slots[Any],
    name: str | None,
    settings: type[S],
    given: Mapping[str, Any],
    subscriptions: Sequence[Subscription],
    connect: Callable[[S], AbstractAsyncContextManager[Broker]],
    *,
    address: str,
) -> Recipe[S]:
    """A recipe whose settings are checked as far as they are known. Raises `OptionError` and `InvalidConfig`.

    `settings` is a class as `hrpc.queues.adapter` describes it; `address` is the name of the setting that says where
    the brokers are.
    """
    made = Recipe.new(slots, name, settings, given, connect, address=address)
    for one in subscriptions:
        if not isinstance(one, Subscription):
            raise OptionError(f"{made.origin}: takes {made.kind}.consume(…), not {one!r}")
    return replace(made, subscriptions=tuple(subscriptions))
