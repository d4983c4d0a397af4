"""An open MongoDB: what the server of hrpc asks of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from hrpc.database.adapter import Activity, PoolStats
from hrpc.errors import DatabaseUnavailable
from hrpc_mongodb.client import Client
from hrpc_mongodb.database import Database, Switch
from hrpc_mongodb.errors import is_failure, not_connected, unusable
from hrpc_mongodb.operation import operate
from hrpc_mongodb.settings import MongoDBSettings

_FAREWELL = 1.0
"""Seconds to tell the server that sessions and cursors are over; it ends them by itself otherwise."""


class OpenMongoDB:
    """An open MongoDB: an `hrpc.abc.Pool`. Belongs to one event loop."""

    def __init__(self, settings: MongoDBSettings) -> None:
        """Raises `DatabaseRefused` for settings that PyMongo does not take, such as files that are not there."""
        self._settings = settings
        try:
            self._beneath = Client.of(settings)
        except (PyMongoError, OSError, ValueError, TypeError) as error:
            raise unusable(settings, error) from error
        self._is_retired = False
        self._switch = Switch(self._beneath)
        self.client = Database(self._switch)

    async def ping(self) -> None:
        """Asks for a sign of life; raises `DatabaseUnavailable` or `DatabaseRefused` without one."""
        await self._ask("ping")

    async def enter(self) -> None:
        """The same for the first time, with a look at whether the user may use the database."""
        await self._ask("ping")
        # Without a login, a server that wants one answers pings, too. With these two, any user may ask.
        await self._ask("listCollections", nameOnly=True, authorizedCollections=True)

    def stats(self) -> PoolStats:
        """The connections now."""
        return self._beneath._hrpc.events.stats()

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether this error says that the server is away, or does not serve us at the moment."""
        return (isinstance(error, DatabaseUnavailable) or is_failure(error)) and self._settings.is_own(error)

    @property
    def activity(self) -> Activity:
        """What has happened until now."""
        return self._beneath._hrpc.events.activity

    def take_over(self, old: OpenMongoDB) -> None:
        """Puts its client beneath the database of `old`; that is then to be closed, and waits for its users."""
        self.client, self._switch = old.client, old._switch
        self._switch.now = self._beneath
        old._is_retired = True
        old.activity.add(self.activity)
        self._beneath._hrpc.events.activity = old.activity

    async def close(self) -> None:
        """Closes all connections; an operation that is still running fails.

        One whose place another has taken waits for what is in use, unless it is cancelled.
        """
        try:
            if self._is_retired:
                await self._beneath._hrpc.usage.ended()
        finally:
            with pymongo.timeout(_FAREWELL):
                await self._beneath.close()

    async def _ask(self, command: str, **options: Any) -> None:
        # Not through the database that is given out: a health check is no part of a call.
        try:
            await operate(self._beneath, self._beneath[self._settings.dbname].command, command, **options)
        except PyMongoError as error:
            servers = self._beneath.topology_description.server_descriptions().values()
            causes = [server.error for server in servers if server.error is not None]
            raise not_connected(self._settings, error, causes) from error


@asynccontextmanager
async def open_pool(settings: MongoDBSettings) -> AsyncIterator[OpenMongoDB]:
    """Connects once, gives the pool, and closes it at the end."""
    database = OpenMongoDB(settings)
    try:
        await database.enter()
        yield database
    finally:
        await database.close()
