"""A client of PyMongo, made of the settings, that knows who uses it."""

from __future__ import annotations

from functools import partial
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.mongo_client import AsyncMongoClient

from hrpc.database.adapter import tracer
from hrpc_mongodb.commands import Commands
from hrpc_mongodb.operation import operate, put_around
from hrpc_mongodb.pool_events import PoolEvents
from hrpc_mongodb.settings import MongoDBSettings
from hrpc_mongodb.usage import Usage


class Connected:
    """What belongs to one client: its settings, its use, and what its events told."""

    def __init__(self, settings: MongoDBSettings) -> None:
        self.settings = settings
        self.usage = Usage()
        self.events = PoolEvents(settings, self.usage.look)
        found = tracer()
        self.commands = None if found is None else Commands(found)


class Client(AsyncMongoClient[dict[str, Any]]):
    """The client beneath a database, until the settings change."""

    # No other names: those of a client's attributes are the names of databases.
    _hrpc: Connected

    @classmethod
    def of(cls, settings: MongoDBSettings) -> Client:
        """One that is not connected yet. Raises what PyMongo says of settings that it does not take."""
        connected = Connected(settings)
        listeners: list[Any] = [connected.events]
        if connected.commands is not None:
            listeners.append(connected.commands)
        client = cls(
            [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in settings.servers],
            appname="hrpc",
            event_listeners=listeners,
            maxPoolSize=settings.max_open_conns,
            maxIdleTimeMS=_milliseconds(settings.max_idle_time),
            connectTimeoutMS=_milliseconds(settings.connect_timeout),
            serverSelectionTimeoutMS=_milliseconds(settings.selection_timeout),
            timeoutMS=_milliseconds(settings.read_timeout),
            directConnection=settings.direct,
            replicaSet=settings.replica_set,
            **_login(settings),
            **_tls(settings),
        )
        client._hrpc = connected
        return client

    def start_session(self, *args: Any, **options: Any) -> AsyncClientSession:
        """As that of PyMongo; this client stays open until the session has ended, or nobody has it any more."""
        session = self._hrpc.usage.lend(super().start_session(*args, **options))
        # PyMongo makes it itself, and the end of a transaction's block calls what stands here.
        for name in ("commit_transaction", "abort_transaction"):
            put_around(session, name, partial(operate, self))
        return session


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _login(settings: MongoDBSettings) -> dict[str, Any]:
    if settings.username is None:
        return {}
    # What a driver does with a text is not told here; a Secret would show it asterisks.
    password = str.__str__(settings.password)
    return {"username": settings.username, "password": password, "authSource": settings.auth_source}


def _tls(settings: MongoDBSettings) -> dict[str, Any]:
    if not settings.uses_tls:
        return {}
    found: dict[str, Any] = {"tls": True}
    if settings.tls_ca:
        found["tlsCAFile"] = settings.tls_ca
    if settings.tls_cert:
        found["tlsCertificateKeyFile"] = settings.tls_cert
    return found
