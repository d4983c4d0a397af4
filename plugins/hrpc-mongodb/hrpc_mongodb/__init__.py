"""MongoDB for hrpc services, through PyMongo's own asyncio client.

::

    import hrpc
    import hrpc_mongodb

    # the settings are those of {env}/databases/mongodb in Consul
    server = hrpc.new_server(..., hrpc.with_databases(hrpc_mongodb.new()))

    order = await hrpc_mongodb.get().orders.find_one({"_id": request.id})

A service may have several, each with a name and connections of its own: ``hrpc_mongodb.new(name="events")`` reads its
settings from {env}/databases/events, and ``hrpc_mongodb.get("events")`` gives it.

PyMongo is imported when the database is opened.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Unpack, cast

from hrpc.database.adapter import Pool, Recipe, Slots, new_recipe
from hrpc_mongodb.plugin import MongoDB
from hrpc_mongodb.settings import MongoDBOptions, MongoDBSettings

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

__all__ = ["MongoDB", "MongoDBOptions", "MongoDBSettings", "get", "new", "valid"]

slots: Slots[AsyncDatabase[dict[str, Any]]] = Slots("mongodb", "hrpc.with_databases(hrpc_mongodb.new({}))")
slot = slots.own


def new(*, name: str | None = None, **settings: Unpack[MongoDBOptions]) -> Recipe[MongoDBSettings]:
    """The recipe for a MongoDB database, to pass to ``hrpc.with_databases``.

    ::

        hrpc_mongodb.new()                                           # everything from Consul KV
        hrpc_mongodb.new(dbname="orders")                            # the rest from Consul KV
        hrpc_mongodb.new(name="events")                              # another one, from its own key
        hrpc_mongodb.new(address="10.0.0.7", dbname="orders", username="orders", password=…)  # nothing from Consul KV
        hrpc_mongodb.new(address="a,b:27018,c", replica_set="rs0", dbname="orders")

    Without a `name` it is called ``mongodb``. The name is what `get` takes, and what Consul KV, probes, metrics and
    errors call it, so that a server has each only once.

    The settings and their defaults are those of `MongoDBSettings`; None is as not given. Raises `OptionError` for an
    unknown setting or for a name that cannot be, and `InvalidConfig` for a value that cannot be.
    """
    given = cast(dict[str, Any], settings)
    return new_recipe(slots, name, MongoDBSettings, given, _connect, "pymongo", "hrpc-mongodb")


def get(name: str | None = None) -> AsyncDatabase[dict[str, Any]]:
    """The database of the running server, or the one of this name: a PyMongo ``AsyncDatabase``.

    Raises `NotRunning` where there is none.

    It may be kept, with its collections, for as long as the server runs, also when the settings change in Consul KV.
    Its errors are those of ``pymongo.errors``; where no connection becomes free, it is a `PoolTimeout` as well. An
    operation ends at the deadline of the call that it is a part of, and the server is told of it.

    Its ``client``, for sessions and transactions, is to be asked for when it is used::

        db = hrpc_mongodb.get()
        async with db.client.start_session() as session, await session.start_transaction():
            await db.stock.update_one({"_id": 7}, {"$inc": {"n": -1}}, session=session)
            await db.sold.insert_one({"of": 7}, session=session)
    """
    return slots.get(name)


async def valid(name: str | None = None) -> bool:
    """Whether the MongoDB of the running server, or the one of this name, answers now. Raises `NotRunning`."""
    from pymongo.errors import PyMongoError

    database = slots.get(name)
    try:
        await database.command("ping")
    except PyMongoError:
        return False
    return True


def _connect(settings: MongoDBSettings) -> AbstractAsyncContextManager[Pool]:
    from hrpc_mongodb.pool import open_pool

    return open_pool(settings)
