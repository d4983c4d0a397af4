"""Putting a value of a test in the place of a database, or of anything else that a module's ``get()`` gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from hrpc import _runtime
from hrpc.errors import NotRunning


@contextmanager
def provide(module: ModuleType, value: object, name: str | None = None) -> Iterator[None]:
    """Makes ``module.get()`` use `value` in the server of the running event loop, while the context lasts.

    With a `name`, of a database, it is ``module.get(name)``.

    `module` is one with a place in the server: `mysql`, `redis`, `configs` or `service`.

    ::

        async with server:
            with provide(mysql, FakeMySQL()):
                ...                             # mysql.get() in handlers gives it, also without a MySQL

    Raises `NotRunning` outside of a running server, and TypeError for another module.
    """
    slot = getattr(module, "slot", None)
    slots = getattr(module, "slots", None)
    if name is not None:
        slot = slots.of(name) if isinstance(slots, _runtime.Slots) else None
    if not isinstance(slot, _runtime.Slot):
        raise TypeError(f"hrpc.testing.provide: {module.__name__} has no place in a server; pass mysql or redis")
    runtime = _runtime.current()
    if runtime is None:
        raise NotRunning("hrpc.testing.provide: no hrpc server is running in this event loop; enter one first")
    with runtime.provide(slot, value):
        yield
