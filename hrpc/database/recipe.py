"""The recipe for a database: its settings as far as code gave them, and how to open it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Generic

from hrpc._runtime import Slot, Slots
from hrpc.abc import Pool, StoredSettings
from hrpc.errors import OptionError
from hrpc.recipe.settings import S, complete, read_given, read_stored

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_KINDS = frozenset({"mysql", "redis"})
_OTHER_PARTS = frozenset({"server", "switch", "registration"})
"""What the probes tell of beside databases."""


@dataclass(frozen=True, slots=True)
class Recipe(Generic[S]):
    """What ``mysql.new()`` and ``redis.new()`` give: an `hrpc.abc.Database`. It holds no connection.

    With an address among the settings given in code, those are all there is and nothing is read from Consul. Without
    one, the rest comes from Consul; a setting given in code wins over the stored one.
    """

    kind: str
    name: str
    slot: Slot[Any]
    settings: type[S]
    given: tuple[tuple[str, Any], ...]
    connect: Callable[[S], AbstractAsyncContextManager[Pool]]

    @property
    def origin(self) -> str:
        """The call that made the recipe, for errors."""
        return _origin(self.kind, self.name)

    @property
    def needs_settings(self) -> bool:
        """Whether the settings have to come from the configuration center."""
        return "address" not in dict(self.given)

    def read(self, stored: StoredSettings | None) -> S:
        """The settings to open with. Raises `InvalidConfig`."""
        given = dict(self.given)
        if stored is None:
            return complete(self.settings, self.origin, given)
        return complete(self.settings, stored.key, read_stored(self.settings, stored) | given)

    @asynccontextmanager
    async def open(self, stored: StoredSettings | None) -> AsyncIterator[Pool]:
        """Connects once, so that a mistake shows at the start, and gives the pool; closes it at the end.

        Closing waits until everything borrowed is back; cancelling it cuts those connections off.
        Raises `InvalidConfig`, `DatabaseUnavailable` or `DatabaseRefused`.
        """
        async with self.connect(self.read(stored)) as pool:
            yield pool


def new_recipe(
    slots: Slots[Any],
    name: str | None,
    settings: type[S],
    given: dict[str, Any],
    connect: Callable[[S], AbstractAsyncContextManager[Pool]],
    driver: str,
    package: str = "",
) -> Recipe[S]:
    """A recipe whose settings are checked as far as they are known. Raises `OptionError` and `InvalidConfig`.

    `driver` is the module that has to be there, and `package` what brings it; when not given, the extra of hrpc that is
    called as the kind.
    """
    kind = slots.own.name
    if find_spec(driver) is None:
        package = package or f"'hrpc[{kind}]'"
        raise OptionError(f"{kind}.new() needs {driver}, which is not installed: pip install {package}")
    name = _checked(kind, kind if name is None else name)
    checked = read_given(settings, _origin(kind, name), given)
    recipe = Recipe(kind, name, slots.of(name), settings, tuple(checked.items()), connect)
    if not recipe.needs_settings:
        recipe.read(None)
    return recipe


def _checked(kind: str, name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(
            f"{kind}.new(name={name!r}): takes a name of at most 63 letters, digits, dots, underscores and hyphens, "
            "which is also the end of its key in Consul KV"
        )
    if name in _OTHER_PARTS or (name in _KINDS and name != kind):
        raise OptionError(f"{kind}.new(name={name!r}): means something else in probes and keys; choose another name")
    return name


def _origin(kind: str, name: str) -> str:
    return f"{kind}.new()" if name == kind else f"{kind}.new(name={name!r})"
