"""Putting a value of a test in the place of a database, or of anything else that a module's ``get()`` gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from hrpc import _runtime
from hrpc.errors import NotRunning


class Resource(Protocol):
    """A module with a place in the running server: `mysql`, `redis`, `configs`, `service`."""

    slot: _runtime.Slot[Any]


@contextmanager
def provide(resource: Resource, value: object) -> Iterator[None]:
    """Makes ``resource.get()`` use `value` in the server of the running event loop, while the context lasts.

    ::

        async with server:
            with provide(mysql, FakeMySQL()):
                ...                             # mysql.get() in handlers gives it, also without a MySQL

    Raises `NotRunning` outside of a running server.
    """
    runtime = _runtime.current()
    if runtime is None:
        raise NotRunning("hrpc.testing.provide: no hrpc server is running in this event loop; enter one first")
    with runtime.provide(resource.slot, value):
        yield
