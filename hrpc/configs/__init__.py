"""Configuration values in Consul KV, followed live.

::

    from hrpc import configs

    text = configs.get("orders/greeting")              # {environment}/orders/greeting
    limit = configs.get("orders/limit", int)           # JSON, as a number, a dataclass, a list[str], …
    limits = configs.sget("limits", Limits)            # {environment}/services/{server}/limits
    await configs.set("orders/greeting", "hello")

    configs.watch("orders/limit", change_limit, int)   # called with each new value, also when registered at import

A value is followed from its first use on, so that reading it again costs nothing and gives what Consul has now. A new
text that is not what it has to be is refused: the value before it is kept, and the log says key, field and reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from hrpc import _runtime
from hrpc.configs.key import cleaned
from hrpc.configs.watching import Handler, Watching
from hrpc.errors import NotInitialized

if TYPE_CHECKING:
    from hrpc.configs.center import Configs

__all__ = ["Watching", "get", "ready", "set", "sget", "slot", "sready", "swatch", "watch"]

T = TypeVar("T")

slot: _runtime.Slot[Configs] = _runtime.Slot("configs", "hrpc.with_consul(…)", NotInitialized)


@overload
def get(key: str) -> str: ...
@overload
def get(key: str, type: type[T]) -> T: ...
@overload
def get(key: str, type: Any) -> Any: ...


def get(key: str, type: Any = str) -> Any:
    """The value of ``{environment}/{key}``. The first use of a key asks Consul and blocks for that long; see `ready`.

    For `str` it is the text as it stands there; for any other `type` the text is JSON, and has to be exactly that: a
    dataclass, a ``msgspec.Struct``, a model of pydantic, an enum, or int, float, bool, list[…], dict[str, …], Literal
    and unions of such. It is made once for each change, so do not change it in place.

    Raises `KeyNotExist`, `NotInitialized`, `ConsulError`, or `InvalidConfig` when there has been no good value yet.
    """
    return slot.get().get(key, type)


@overload
def sget(key: str) -> str: ...
@overload
def sget(key: str, type: type[T]) -> T: ...
@overload
def sget(key: str, type: Any) -> Any: ...


def sget(key: str, type: Any = str) -> Any:
    """The value of ``{environment}/services/{server name}/{key}``: this service's own. As `get`."""
    return slot.get().sget(key, type)


async def set(key: str, value: str) -> None:
    """Stores ``{environment}/{key}``. Raises `NotInitialized` or `ConsulError`."""
    await slot.get().set(key, value)


async def ready(*keys: str) -> None:
    """Asks Consul for keys, so that their first `get` does not block. What goes wrong is raised by that `get`."""
    await slot.get().ready(*keys)


async def sready(*keys: str) -> None:
    """The same for keys of this service, and `sget`."""
    await slot.get().ready(*keys, own=True)


def watch(key: str, handler: Handler, type: Any = str) -> Watching:
    """Calls ``handler(value)``, sync or async, after each change of ``{environment}/{key}``.

    ::

        configs.watch("orders/limit", change_limit, int)
        with configs.watch("orders/limit", change_limit, int): ...       # for as long as the block lasts

    Only what comes after the value of now is a change; a text that says the same in another way is none. `type` is as
    in `get`: a value that is refused is no change. None is what the handler gets when the key is deleted. For one
    handler, calls do not overlap: after a slow one comes the newest value, and what it has missed never comes. An
    error is logged and stops neither the other handlers nor later calls; raise `InvalidConfig` to refuse a value.
    A sync handler runs in a thread of its own. Raises ValueError for what is not a key.

    In a running server it belongs to this one life, and a key that was not used before is asked for, as by `get`.
    Outside of one, as at import, it belongs to every life of the process that has Consul.
    """
    return _watch(Watching(cleaned(key), False, handler, type))


def swatch(key: str, handler: Handler, type: Any = str) -> Watching:
    """The same for ``{environment}/services/{server name}/{key}``."""
    return _watch(Watching(cleaned(key), True, handler, type))


def _watch(watching: Watching) -> Watching:
    if _runtime.current() is None:
        _runtime.early_config_watches.append(watching)
    else:
        slot.get().watch(watching)
    return watching
