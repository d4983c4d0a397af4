"""A small MongoDB server for tests, where there is no real one: it speaks the wire protocol, and keeps all in memory.

It knows logins by SCRAM-SHA-256, sessions, transactions (of which the last one to commit wins), cursors, ``maxTimeMS``
and the commands of everyday work; what it does not know, it refuses as MongoDB refuses what it does not know. It can
be killed, fall silent, refuse logins, and step down as the primary of a replica set.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import threading
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import mongodb_documents as documents
import mongodb_wire as wire
from bson import ObjectId
from mongodb_documents import BadValue, Document
from mongodb_scram import Login, LoginFailed

_WIRE_VERSION = 21  # that of MongoDB 7.0
_FREE = frozenset({"hello", "isMaster", "ismaster", "saslStart", "saslContinue", "ping", "buildInfo", "endSessions"})
Collections = dict[tuple[str, str], dict[Any, Document]]


class Refused(Exception):
    """An answer with ``ok: 0``."""

    def __init__(self, code: int, name: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.document = {"ok": 0.0, "errmsg": message, "code": code, "codeName": name, **more}


class Store:
    """What the members of one replica set share."""

    def __init__(self) -> None:
        self.collections: Collections = {}
        self.transactions: dict[bytes, Collections] = {}
        self.cursors: dict[int, tuple[str, list[Document]]] = {}
        self.numbers = itertools.count(1001)


class Connection:
    """What is known of one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.user: str | None = None
        self.login: Login | None = None
        self.number = 0


class FakeMongoDB:
    """One server on a port of 127.0.0.1, in a thread of its own."""

    name = "MongoDB"
    host = "127.0.0.1"
    source = "the tests' own server (no MongoDB here)"

    def __init__(
        self, port: int, users: dict[str, str] | None = None, *, tls: ssl.SSLContext | None = None, store: Any = None
    ) -> None:
        self.port = port
        self.users = users or {}
        self.store: Store = store or Store()
        self.commands: list[Document] = []
        """What was asked, without what drivers ask by themselves."""
        self.silent: set[str] = set()
        """The commands that are not answered; with a ``maxTimeMS``, they are refused when it is over."""
        self.logins = 0
        self.members: Sequence[str] = ()
        """Of the replica set "rs0", the first being the primary; none for a server on its own."""
        self._tls = tls
        self._connections: set[Connection] = set()
        self._numbers = itertools.count(1)
        self._end: asyncio.Event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections have logged in or asked for something, without those that only watch."""
        return sum(1 for one in self._connections if one.number)

    def start(self) -> None:
        """Listens, and returns when it does."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def kill(self) -> None:
        """As a machine that dies: the port is closed and all connections are cut. What it holds, stays."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)
            self._loop = self._thread = None

    def cut(self) -> None:
        """Cuts all connections, and goes on."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._abort)

    async def _live(self, ready: threading.Event) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self._tls)
        self._loop = asyncio.get_running_loop()
        ready.set()
        await self._end.wait()
        server.close()
        self._abort()

    def _abort(self) -> None:
        for connection in self._connections:
            connection.writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(writer)
        self._connections.add(connection)
        try:
            while (request := await wire.read(reader)) is not None:
                answer = await self._answer(connection, request)
                if request.is_answered:
                    writer.write(request.answer(answer))
                    await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._connections.discard(connection)
            with contextlib.suppress(RuntimeError):
                writer.close()

    async def _answer(self, connection: Connection, request: wire.Request) -> Document:
        command, name = request.command, request.name
        if name not in _FREE or name == "ping":
            connection.number = connection.number or next(self._numbers)
            self.commands.append(command)
        try:
            if name in self.silent:
                await self._fall_silent(command)
            if self.users and connection.user is None and name not in _FREE:
                raise Refused(13, "Unauthorized", f"Command {name} requires authentication")
            method: Callable[..., Document] | None = getattr(self, f"_do_{name.lower()}", None)
            if method is None:
                raise Refused(59, "CommandNotFound", f"no such command: {name!r}")
            return {**method(command, connection), "ok": 1.0}
        except Refused as refused:
            return refused.document
        except BadValue as error:
            return Refused(2, "BadValue", str(error)).document

    async def _fall_silent(self, command: Document) -> None:
        if "maxTimeMS" not in command:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(command["maxTimeMS"] / 1000)
        raise Refused(50, "MaxTimeMSExpired", "operation exceeded time limit")

    # What a driver asks of itself.

    def _do_hello(self, command: Document, connection: Connection) -> Document:
        answer: Document = {
            "helloOk": True,
            "isWritablePrimary": self._is_primary,
            "ismaster": self._is_primary,
            "maxBsonObjectSize": 16_777_216,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "localTime": datetime.now(UTC),
            "logicalSessionTimeoutMinutes": 30,
            "connectionId": len(self._connections),
            "minWireVersion": 0,
            "maxWireVersion": _WIRE_VERSION,
            "readOnly": False,
        }
        if self.members:
            answer |= {"setName": "rs0", "hosts": list(self.members), "primary": self.members[0], "me": self.address}
            answer |= {"setVersion": 1, "secondary": not self._is_primary}
        if "saslSupportedMechs" in command:
            answer["saslSupportedMechs"] = ["SCRAM-SHA-256"]
        if "speculativeAuthenticate" in command:
            answer["speculativeAuthenticate"] = self._do_saslstart(command["speculativeAuthenticate"], connection)
        return answer

    _do_ismaster = _do_hello

    @property
    def _is_primary(self) -> bool:
        return not self.members or self.members[0] == self.address

    def _do_saslstart(self, command: Document, connection: Connection) -> Document:
        if command["mechanism"] != "SCRAM-SHA-256":
            raise Refused(334, "MechanismUnavailable", "only SCRAM-SHA-256 is known here")
        connection.login = Login(self.users, bytes(command["payload"]))
        return {"conversationId": 1, "done": False, "payload": connection.login.challenge.encode()}

    def _do_saslcontinue(self, command: Document, connection: Connection) -> Document:
        login = connection.login
        if login is None:
            raise Refused(17, "ProtocolError", "no login has begun")
        if login.is_done:
            return {"conversationId": 1, "done": True, "payload": b""}
        try:
            payload = login.prove(bytes(command["payload"]))
        except LoginFailed:
            raise Refused(18, "AuthenticationFailed", "Authentication failed.") from None
        connection.user = "known"
        self.logins += 1
        return {"conversationId": 1, "done": True, "payload": payload}

    def _do_ping(self, command: Document, connection: Connection) -> Document:
        return {}

    _do_endsessions = _do_ping

    def _do_buildinfo(self, command: Document, connection: Connection) -> Document:
        return {"version": "7.0.0", "versionArray": [7, 0, 0, 0]}

    # Documents.

    def _held(self, command: Document) -> Collections:
        """Where a command reads and writes: in its transaction, if it is in one."""
        if command.get("autocommit", True):
            return self.store.collections
        session = bytes(command["lsid"]["id"])
        if command.get("startTransaction"):
            self.store.transactions[session] = deepcopy(self.store.collections)
        if session not in self.store.transactions:
            raise Refused(251, "NoSuchTransaction", "no such transaction", errorLabels=["TransientTransactionError"])
        return self.store.transactions[session]

    def _of(self, command: Document, name: str | None = None) -> dict[Any, Document]:
        key = (command["$db"], name or command[next(iter(command))])
        return self._held(command).setdefault(key, {})

    def _writable(self, command: Document) -> dict[Any, Document]:
        if not self._is_primary:
            raise Refused(10107, "NotWritablePrimary", "not primary")
        return self._of(command)

    def _do_insert(self, command: Document, connection: Connection) -> Document:
        collection = self._writable(command)
        errors, count = [], 0
        for index, document in enumerate(command["documents"]):
            key = _hashed(document["_id"])
            if key in collection:
                errors.append({"index": index, "code": 11000, "errmsg": f"E11000 duplicate key error: _id {key!r}"})
                if command.get("ordered", True):
                    break
            else:
                collection[key] = document
                count += 1
        return {"n": count, **({"writeErrors": errors} if errors else {})}

    def _do_update(self, command: Document, connection: Connection) -> Document:
        collection = self._writable(command)
        matched = modified = 0
        upserted = []
        for index, each in enumerate(command["updates"]):
            found = [key for key, one in collection.items() if documents.matches(one, each["q"])]
            for key in found if each.get("multi") else found[:1]:
                made = documents.updated(collection[key], each["u"])
                matched, modified = matched + 1, modified + (made != collection[key])
                collection[key] = made
            if not found and each.get("upsert"):
                made = documents.inserted_by(each["q"], each["u"])
                collection[_hashed(made["_id"])] = made
                matched += 1
                upserted.append({"index": index, "_id": made["_id"]})
        return {"n": matched, "nModified": modified, **({"upserted": upserted} if upserted else {})}

    def _do_delete(self, command: Document, connection: Connection) -> Document:
        collection = self._writable(command)
        count = 0
        for each in command["deletes"]:
            found = [key for key, one in collection.items() if documents.matches(one, each["q"])]
            for key in found[: each["limit"] or None]:
                del collection[key]
                count += 1
        return {"n": count}

    def _do_findandmodify(self, command: Document, connection: Connection) -> Document:
        collection = self._writable(command)
        found = [one for one in collection.values() if documents.matches(one, command.get("query", {}))]
        before = next(iter(documents.ordered(found, command.get("sort") or {})), None)
        if before is None:
            if not command.get("upsert"):
                return {"value": None}
            made = documents.inserted_by(command["query"], command["update"])
            collection[_hashed(made["_id"])] = made
            return {"value": made if command.get("new") else None}
        if command.get("remove"):
            del collection[_hashed(before["_id"])]
            return {"value": before}
        after = collection[_hashed(before["_id"])] = documents.updated(before, command["update"])
        return {"value": documents.projected(after if command.get("new") else before, command.get("fields"))}

    def _do_find(self, command: Document, connection: Connection) -> Document:
        rows = [one for one in self._of(command).values() if documents.matches(one, command.get("filter", {}))]
        rows = documents.ordered(rows, command.get("sort") or {})[command.get("skip", 0) :]
        rows = [documents.projected(one, command.get("projection")) for one in rows[: command.get("limit") or None]]
        size = command.get("batchSize", 101)
        return self._cursor(command, command["find"], rows, size, is_single=command.get("singleBatch", False))

    def _do_aggregate(self, command: Document, connection: Connection) -> Document:
        rows = documents.piped(self._of(command).values(), command["pipeline"])
        return self._cursor(command, command["aggregate"], rows, command.get("cursor", {}).get("batchSize", 101))

    def _do_count(self, command: Document, connection: Connection) -> Document:
        query = command.get("query", {})
        return {"n": sum(documents.matches(one, query) for one in self._of(command).values())}

    def _do_distinct(self, command: Document, connection: Connection) -> Document:
        rows = [one for one in self._of(command).values() if documents.matches(one, command.get("query") or {})]
        values = {documents.found(one, command["key"]) for one in rows}
        return {"values": sorted(values)}

    def _do_drop(self, command: Document, connection: Connection) -> Document:
        if self._held(command).pop((command["$db"], command["drop"]), None) is None:
            raise Refused(26, "NamespaceNotFound", "ns not found")
        return {}

    def _do_create(self, command: Document, connection: Connection) -> Document:
        self._of(command)
        return {}

    def _do_createindexes(self, command: Document, connection: Connection) -> Document:
        """There are none: it only says so."""
        self._of(command)
        return {"numIndexesBefore": 1, "numIndexesAfter": 1 + len(command["indexes"])}

    def _do_listindexes(self, command: Document, connection: Connection) -> Document:
        if (command["$db"], command["listIndexes"]) not in self._held(command):
            raise Refused(26, "NamespaceNotFound", "ns does not exist")
        return self._cursor(command, command["listIndexes"], [{"v": 2, "key": {"_id": 1}, "name": "_id_"}], 101)

    def _do_listcollections(self, command: Document, connection: Connection) -> Document:
        names = sorted(name for database, name in self._held(command) if database == command["$db"])
        rows = [{"name": name, "type": "collection"} for name in names]
        wanted = command.get("filter") or {}
        rows = [row for row in rows if documents.matches(row, wanted)]
        return self._cursor(command, "$cmd.listCollections", rows, 1000)

    # Cursors and transactions.

    def _cursor(
        self, command: Document, name: str, rows: list[Document], size: int, *, is_single: bool = False
    ) -> Document:
        namespace = f"{command['$db']}.{name}"
        batch, left = rows[:size], rows[size:]
        number = 0
        if left and not is_single:
            number = next(self.store.numbers)
            self.store.cursors[number] = namespace, left
        return {"cursor": {"firstBatch": batch, "id": number, "ns": namespace}}

    def _do_getmore(self, command: Document, connection: Connection) -> Document:
        number = command["getMore"]
        if number not in self.store.cursors:
            raise Refused(43, "CursorNotFound", f"cursor id {number} not found")
        namespace, rows = self.store.cursors.pop(number)
        size = command.get("batchSize") or len(rows)
        batch, left = rows[:size], rows[size:]
        if left:
            self.store.cursors[number] = namespace, left
        return {"cursor": {"nextBatch": batch, "id": number if left else 0, "ns": namespace}}

    def _do_killcursors(self, command: Document, connection: Connection) -> Document:
        killed = [number for number in command["cursors"] if self.store.cursors.pop(number, None)]
        return {"cursorsKilled": killed, "cursorsNotFound": [], "cursorsAlive": [], "cursorsUnknown": []}

    def _do_committransaction(self, command: Document, connection: Connection) -> Document:
        self.store.collections.update(self._held(command))
        del self.store.transactions[bytes(command["lsid"]["id"])]
        return {}

    def _do_aborttransaction(self, command: Document, connection: Connection) -> Document:
        self._held(command)
        del self.store.transactions[bytes(command["lsid"]["id"])]
        return {}


def _hashed(value: Any) -> Any:
    return value if isinstance(value, ObjectId | str | int | float | bytes) else repr(value)
