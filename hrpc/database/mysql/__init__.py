"""MySQL and MariaDB, through aiomysql and a pool of our own.

::

    server = hrpc.new_server(..., hrpc.with_databases(mysql.new()))     # settings from {env}/databases/mysql in Consul

    row = await mysql.get().query_one("SELECT id, total FROM orders WHERE id = %s", request.id)

A service may have several, each with a name and a pool of its own: ``mysql.new(name="reports")`` reads its settings
from {env}/databases/reports, and ``mysql.get("reports")`` gives it.

aiomysql is imported when the database is opened. Its own pool is not used: a cancelled borrower leaves its waiters
hanging, connecting holds the lock of the pool, and the next borrower can see an old snapshot.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Unpack, cast

from hrpc._runtime import Slots
from hrpc.abc import Pool
from hrpc.database.mysql.client import MySQL, Result, Transaction
from hrpc.database.mysql.settings import MySQLOptions, MySQLSettings
from hrpc.database.recipe import Recipe, new_recipe

__all__ = ["MySQL", "MySQLOptions", "MySQLSettings", "Result", "Transaction", "get", "new", "valid"]

slots: Slots[MySQL] = Slots("mysql", "hrpc.with_databases(mysql.new({}))")
slot = slots.own


def new(*, name: str | None = None, **settings: Unpack[MySQLOptions]) -> Recipe[MySQLSettings]:
    """The recipe for a MySQL database, to pass to ``hrpc.with_databases``.

    ::

        mysql.new()                                                  # everything from Consul KV
        mysql.new(max_open_conns=20)                                 # the rest from Consul KV
        mysql.new(name="reports")                                    # another one, from its own key
        mysql.new(address="10.0.0.5", username="orders", password=…, dbname="orders")    # nothing from Consul KV

    Without a `name` it is called ``mysql``. The name is what `get` takes, and what Consul KV, probes, metrics and
    errors call it, so that a server has each only once.

    The settings and their defaults are those of `MySQLSettings`; None is as not given. Raises `OptionError` for an
    unknown setting, for a name that cannot be, or when aiomysql is not installed, and `InvalidConfig` for a value that
    cannot be.
    """
    return new_recipe(slots, name, MySQLSettings, cast(dict[str, Any], settings), _connect, "aiomysql")


def get(name: str | None = None) -> MySQL:
    """The MySQL of the running server, or the one of this name. Raises `NotRunning` where there is none."""
    return slots.get(name)


async def valid(name: str | None = None) -> bool:
    """Whether the MySQL of the running server answers now, or the one of this name. Raises `NotRunning` without it."""
    return await slots.get(name).valid()


def _connect(settings: MySQLSettings) -> AbstractAsyncContextManager[Pool]:
    from hrpc.database.mysql.pool import open_pool

    return open_pool(settings)
