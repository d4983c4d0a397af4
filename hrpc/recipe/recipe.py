"""The recipe for a database or a message queue: its settings as far as code gave them, and how to open it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from hrpc._runtime import Slot, Slots
from hrpc.abc import StoredSettings
from hrpc.errors import OptionError
from hrpc.recipe.settings import S, complete, read_given, read_stored

T = TypeVar("T")
"""What is open: the pool of a database, or a broker."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_OTHER_PARTS = frozenset({"server", "switch", "registration"})
"""What the probes tell of beside databases and message queues."""


@dataclass(frozen=True, slots=True)
class Recipe(Generic[S, T]):
    """What ``mysql.new()`` and ``kafka.new(…)`` give. It holds no connection.

    With the setting `address` among those given in code, these are all there is and nothing is read from Consul.
    Without it, the rest comes from Consul; a setting given in code wins over the stored one.
    """

    kind: str
    name: str
    slot: Slot[Any]
    settings: type[S]
    given: tuple[tuple[str, Any], ...]
    connect: Callable[[S], AbstractAsyncContextManager[T]]
    address: str
    """Which setting says where the servers are."""

    @classmethod
    def new(
        cls,
        slots: Slots[Any],
        name: str | None,
        settings: type[S],
        given: Mapping[str, Any],
        connect: Callable[[S], AbstractAsyncContextManager[T]],
        *,
        address: str = "address",
        taken: Collection[str] = (),
    ) -> Self:
        """One whose settings are checked as far as they are known. Raises `OptionError` and `InvalidConfig`.

        `settings` is a class as `hrpc.recipe.settings` describes it. It cannot have a name that is `taken`.
        """
        kind = slots.own.name
        name = _checked(kind, kind if name is None else name, taken)
        checked = read_given(settings, _origin(kind, name), given)
        recipe = cls(kind, name, slots.of(name), settings, tuple(checked.items()), connect, address)
        if not recipe.needs_settings:
            recipe.read(None)
        return recipe

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

    def open(self, stored: StoredSettings | None) -> AbstractAsyncContextManager[T]:
        """Connects once, so that a mistake shows at the start; closes what it gives at the end.

        A pool waits for everything borrowed to be back before it closes; cancelling that cuts those connections off.
        Raises `InvalidConfig`; entering it, `DatabaseError` or `QueueError`.
        """
        return self.connect(self.read(stored))


def _checked(kind: str, name: str, taken: Collection[str]) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(
            f"{kind}.new(name={name!r}): takes a name of at most 63 letters, digits, dots, underscores and hyphens, "
            "which is also the end of its key in Consul KV and its name in probes"
        )
    if name in _OTHER_PARTS or name in taken:
        raise OptionError(f"{kind}.new(name={name!r}): means something else in probes and keys; choose another name")
    return name


def _origin(kind: str, name: str) -> str:
    return f"{kind}.new()" if name == kind else f"{kind}.new(name={name!r})"
