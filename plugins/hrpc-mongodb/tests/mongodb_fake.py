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
from datetime import UTC, datetime
from typing import Any

import mongodb_wire as wire
from mongodb_documents import BadValue, Document
from mongodb_scram import Login, LoginFailed
from mongodb_store import WRITES, Refused, Store

_WIRE_VERSION = 21  # that of MongoDB 7.0
_FREE = frozenset({"hello", "isMaster", "ismaster", "saslStart", "saslContinue", "ping", "buildInfo", "endSessions"})


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
            if method is None and name in WRITES and not self._is_primary:
                raise Refused(10107, "NotWritablePrimary", "not primary")
            answer = self.store.answer(command) if method is None else method(command, connection)
            return {**answer, "ok": 1.0}
        except Refused as refused:
            return refused.document
        except BadValue as error:
            return Refused(2, "BadValue", str(error)).document

    async def _fall_silent(self, command: Document) -> None:
        if "maxTimeMS" not in command:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(command["maxTimeMS"] / 1000)
        raise Refused(50, "MaxTimeMSExpired", "operation exceeded time limit")

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
