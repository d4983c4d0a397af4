"""The recipe for a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from typing import Any, TypeAlias

from hrpc import recipe
from hrpc._runtime import Slots
from hrpc.abc import Pool
from hrpc.errors import OptionError
from hrpc.recipe.settings import S

_KINDS = frozenset({"mysql", "redis"})

Recipe: TypeAlias = recipe.Recipe[S, Pool]
"""What ``mysql.new()`` and ``redis.new()`` give: an `hrpc.abc.Database`."""


def new_recipe(
    slots: Slots[Any],
    name: str | None,
    settings: type[S],
    given: Mapping[str, Any],
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
    return recipe.Recipe.new(slots, name, settings, given, connect, taken=_KINDS - {kind})
