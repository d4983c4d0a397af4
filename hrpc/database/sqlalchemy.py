"""SQLAlchemy's async engine on the pool of a MySQL database: ``pip install 'hrpc[sqlalchemy]'``.

::

    from hrpc.database import mysql, sqlalchemy

    server = hrpc.new_server(..., hrpc.with_databases(mysql.new()))

    async with AsyncSession(sqlalchemy.engine()) as session, session.begin():      # in a handler, a job or a hook
        session.add(Order(customer="Ada"))

The engine has no connections of its own. It borrows those that ``mysql.get()`` uses as well, so that their limits,
their way to another server, their metrics, their health and changes of their settings hold for both, and nothing is
left to be closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hrpc.database import mysql

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["engine"]


def engine(name: str | None = None) -> AsyncEngine:
    """The engine on the MySQL of the running server, or on the one of this name; the same at each call.

    Its errors are those of SQLAlchemy, and beside them `PoolTimeout`, `DatabaseUnavailable` and `DatabaseRefused` where
    there is no connection to be had. Raises `NotRunning` where there is no such database.
    """
    client = mysql.get(name)
    if client.engine is None:
        from hrpc.database.mysql.lending import new_engine

        client.engine = new_engine(client)
    made: AsyncEngine = client.engine
    return made
