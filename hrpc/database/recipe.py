"""The recipe for a database: its settings as far as code gave them, and how to open it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Generic

from hrpc._runtime import Slot
from hrpc.abc import Pool, StoredSettings
from hrpc.database.settings import S, complete, read_given, read_stored
from hrpc.errors import OptionError


@dataclass(frozen=True, slots=True)
class Recipe(Generic[S]):
    """What ``mysql.new()`` and ``redis.new()`` give: an `hrpc.abc.Database`. It holds no connection.

    With an address among the settings given in code, those are all there is and nothing is read from Consul. Without
    one, the rest comes from Consul; a setting given in code wins over the stored one.
    """

    name: str
    slot: Slot[Any]
    settings: type[S]
    given: tuple[tuple[str, Any], ...]
    connect: Callable[[S], AbstractAsyncContextManager[Pool]]

    @property
    def origin(self) -> str:
        """The call that made the recipe, for errors."""
        return f"{self.name}.new()"

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
    slot: Slot[Any],
    settings: type[S],
    given: dict[str, Any],
    connect: Callable[[S], AbstractAsyncContextManager[Pool]],
    driver: str,
) -> Recipe[S]:
    """A recipe whose settings are checked as far as they are known. Raises `OptionError` and `InvalidConfig`."""
    if find_spec(driver) is None:
        raise OptionError(f"{slot.name}.new() needs {driver}, which is not installed: pip install 'hrpc[{slot.name}]'")
    checked = read_given(settings, f"{slot.name}.new()", given)
    recipe = Recipe(slot.name, slot, settings, tuple(checked.items()), connect)
    if not recipe.needs_settings:
        recipe.read(None)
    return recipe
