"""The recipe for a message queue: its settings as far as code gave them, its subscriptions, and how to open it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic

from hrpc._runtime import Slot, Slots
from hrpc.abc import StoredSettings
from hrpc.errors import OptionError
from hrpc.queues.contract import Broker
from hrpc.queues.subscription import Subscription
from hrpc.recipe.settings import S, complete, read_given, read_stored

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_OTHER_PARTS = frozenset({"server", "switch", "registration"})
"""What the probes tell of beside queues."""


@dataclass(frozen=True, slots=True)
class Recipe(Generic[S]):
    """What ``kafka.new()`` and ``rabbitmq.new()`` give: an `hrpc.abc.MessageQueue`. It holds no connection.

    With the setting `address` among those given in code, these are all there is and nothing is read from Consul.
    Without it, the rest comes from Consul; a setting given in code wins over the stored one.
    """

    kind: str
    name: str
    slot: Slot[Any]
    settings: type[S]
    address: str
    """Which setting says where the brokers are."""
    given: tuple[tuple[str, Any], ...]
    subscriptions: tuple[Subscription, ...]
    connect: Callable[[S], AbstractAsyncContextManager[Broker]]

    @property
    def origin(self) -> str:
        """The call that made the recipe, for errors."""
        return _origin(self.kind, self.name)

    @property
    def needs_settings(self) -> bool:
        """Whether the settings have to come from the configuration center."""
        return self.address not in dict(self.given)

    def read(self, stored: StoredSettings | None) -> S:
        """The settings to open with. Raises `InvalidConfig`."""
        given = dict(self.given)
        if stored is None:
            return complete(self.settings, self.origin, given)
        return complete(self.settings, stored.key, read_stored(self.settings, stored) | given)

    @asynccontextmanager
    async def open(self, stored: StoredSettings | None) -> AsyncIterator[Broker]:
        """Connects once, so that a mistake shows at the start; closes it at the end.

        Raises `InvalidConfig`, `QueueUnavailable` or `QueueRefused`.
        """
        async with self.connect(self.read(stored)) as broker:
            yield broker


def new_recipe(
    slots: Slots[Any],
    name: str | None,
    settings: type[S],
    given: dict[str, Any],
    subscriptions: Sequence[Subscription],
    connect: Callable[[S], AbstractAsyncContextManager[Broker]],
    *,
    address: str,
) -> Recipe[S]:
    """A recipe whose settings are checked as far as they are known. Raises `OptionError` and `InvalidConfig`.

    `settings` is a class as `hrpc.recipe.settings` describes it; `address` is the name of the setting that says where
    the brokers are.
    """
    kind = slots.own.name
    name = kind if name is None else name
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _OTHER_PARTS:
        raise OptionError(
            f"{kind}.new(name={name!r}): takes a name of at most 63 letters, digits, dots, underscores and hyphens, "
            "which is also the end of its key in Consul KV and its name in probes"
        )
    for one in subscriptions:
        if not isinstance(one, Subscription):
            raise OptionError(f"{_origin(kind, name)}: takes {kind}.consume(…), not {one!r}")
    given = {key: value for key, value in given.items() if value is not None}
    checked = tuple(read_given(settings, _origin(kind, name), given).items())
    recipe = Recipe(kind, name, slots.of(name), settings, address, checked, tuple(subscriptions), connect)
    if not recipe.needs_settings:
        recipe.read(None)
    return recipe


def _origin(kind: str, name: str) -> str:
    return f"{kind}.new()" if name == kind else f"{kind}.new(name={name!r})"
