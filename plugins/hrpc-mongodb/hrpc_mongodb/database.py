"""What ``hrpc_mongodb.get()`` gives: PyMongo's classes, on whichever client is open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.asynchronous.cursor import AsyncCursor, AsyncRawBatchCursor
from pymongo.asynchronous.database import AsyncDatabase

from hrpc_mongodb.client import Client
from hrpc_mongodb.operation import advance, operate, put_around

Document: TypeAlias = dict[str, Any]
_LENT = (AsyncCommandCursor, AsyncChangeStream)


class Switch:
    """The client that is open now; another one is put here when the settings change."""

    __slots__ = ("now",)

    def __init__(self, client: Client) -> None:
        self.now = client

    def client(self, args: tuple[Any, ...], options: dict[str, Any]) -> Client:
        """The one for an operation with these arguments: a session stays with the client that it is of."""
        session = options.get("session")
        if session is None:
            session = next((value for value in args if isinstance(value, AsyncClientSession)), None)
        client = getattr(session, "client", None)
        return client if isinstance(client, Client) else self.now


class Database(AsyncDatabase[Document]):
    """A database of PyMongo whose operations go to the client that is open."""

    def __init__(self, switch: Switch, **options: Any) -> None:
        """`options` are those of ``AsyncDatabase.with_options``."""
        super().__init__(switch.now, switch.now._hrpc.settings.dbname, **options)
        self._switch = switch

    @property
    def client(self) -> Client:
        """The client that is open now. It is closed some time after the settings have changed, so do not keep it."""
        return self._switch.now

    @property
    def name(self) -> str:
        return self.client._hrpc.settings.dbname

    def __repr__(self) -> str:
        return f"<{self.client._hrpc.settings.place}>"

    def __getitem__(self, name: str) -> Collection:
        return Collection(self, name)

    def get_collection(self, name: str, *args: Any, **options: Any) -> Collection:
        return Collection(self, name, False, *args, **options)

    def with_options(self, *args: Any, **options: Any) -> Any:
        return Database(self._switch, **_options(AsyncDatabase.with_options(self, *args, **options)))

    async def create_collection(self, name: str, *args: Any, **options: Any) -> Collection:
        client = self._switch.client(args, options)
        made = await operate(client, self._on(client).create_collection, name, *args, **options)
        return Collection(self, name, **_options(made))

    def _on(self, client: Client) -> AsyncDatabase[Document]:
        return client.get_database(client._hrpc.settings.dbname, **_options(self))


class Collection(AsyncCollection[Document]):
    """A collection of PyMongo whose operations go to the client that is open."""

    def __init__(self, database: Database, *args: Any, **options: Any) -> None:
        super().__init__(database, *args, **options)
        self._switch = database._switch
        self._real: AsyncCollection[Document] | None = None
        self._real_client: Client | None = None

    @property
    def full_name(self) -> str:
        return f"{self.database.name}.{self.name}"

    def __repr__(self) -> str:
        return f"<{self._switch.now._hrpc.settings.place} {self.name}>"

    def __getitem__(self, name: str) -> Collection:
        return Collection(self._owner, f"{self.name}.{name}", **_options(self))

    def with_options(self, *args: Any, **options: Any) -> Any:
        return Collection(self._owner, self.name, **_options(AsyncCollection.with_options(self, *args, **options)))

    def find(self, *args: Any, **options: Any) -> Cursor:
        client = self._switch.client(args, options)
        cursor = Cursor(self._on(client), *args, **options)
        cursor._hrpc_client = client
        return client._hrpc.usage.lend(cursor)

    def find_raw_batches(self, *args: Any, **options: Any) -> AsyncRawBatchCursor[Document]:
        client = self._switch.client(args, options)
        return client._hrpc.usage.lend(self._on(client).find_raw_batches(*args, **options))

    def _on(self, client: Client) -> AsyncCollection[Document]:
        if self._real is None or self._real_client is not client:
            database = client.get_database(client._hrpc.settings.dbname)
            self._real = database.get_collection(self.name, **_options(self))
            self._real_client = client
        return self._real

    @property
    def _owner(self) -> Database:
        owner = self.database
        assert isinstance(owner, Database)
        return owner


class Cursor(AsyncCursor[Document]):
    """A cursor whose query ends with the deadline of the call, and that its client waits for."""

    _hrpc_client: Client | None = None
    _hrpc_has_begun = False

    async def next(self) -> Document:
        client = self._hrpc_client
        if client is None:
            return await super().next()
        if not self._hrpc_has_begun:
            self._hrpc_has_begun = True
            return await operate(client, super().next)
        return await advance(client, super().next)

    async def to_list(self, length: int | None = None) -> list[Document]:
        if self._hrpc_client is None:
            return await super().to_list(length)
        return await operate(self._hrpc_client, super().to_list, length)

    async def close(self) -> None:
        if self._hrpc_client is None:
            return await super().close()
        return await operate(self._hrpc_client, super().close)


def _options(of: AsyncDatabase[Document] | AsyncCollection[Document]) -> dict[str, Any]:
    return {
        "codec_options": of.codec_options,
        "read_preference": of.read_preference,
        "write_concern": of.write_concern,
        "read_concern": of.read_concern,
    }


def _on_the_open_client(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The same method of PyMongo, on what is beneath."""

    @wraps(method)
    async def operation(self: Any, *args: Any, **options: Any) -> Any:
        client = self._switch.client(args, options)
        answer = await operate(client, method, self._on(client), *args, **options)
        if isinstance(answer, AsyncCommandCursor):
            # PyMongo makes it itself, and its ``async for`` calls what stands here.
            put_around(answer, "next", partial(advance, client))
        return client._hrpc.usage.lend(answer) if isinstance(answer, _LENT) else answer

    return operation


def _go_beneath(ours: type[Any], pymongos: type[Any]) -> None:
    for name, member in vars(pymongos).items():
        if iscoroutinefunction(member) and not name.startswith("_") and name not in vars(ours):
            setattr(ours, name, _on_the_open_client(member))


_go_beneath(Database, AsyncDatabase)
_go_beneath(Collection, AsyncCollection)
