"""The settings of MongoDB: the keys of the Go framework, and a few limits of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hrpc.database.adapter import (
    BOOLEAN,
    PASSWORD,
    PATH,
    SECONDS,
    SERVERS,
    TEXT,
    Server,
    Settings,
    integer,
    parsed,
    setting,
    told,
)


class MongoDBOptions(TypedDict, total=False):
    """What ``hrpc_mongodb.new()`` takes; `MongoDBSettings` has the defaults. Durations are in seconds."""

    address: str | list[str]
    port: int
    dbname: str
    username: str
    password: str
    auth_source: str
    replica_set: str
    direct: bool
    max_open_conns: int
    max_idle_time: float
    connect_timeout: float
    selection_timeout: float
    acquire_timeout: float
    read_timeout: float
    tls: bool
    tls_ca: str
    tls_cert: str


@dataclass(frozen=True, slots=True)
class MongoDBSettings(Settings):
    """The settings of MongoDB. Durations are in seconds."""

    address: str = setting(SERVERS)
    """The server, or several members of one replica set, or several ``mongos`` of one cluster: ``"a,b:27018"`` or
    ``["a", "b:27018"]``. The other members are found by asking those that are told of."""
    port: int = setting(integer(1, 65535), 27017)
    """That of each server whose address has none."""
    dbname: str = setting(TEXT)
    username: str | None = setting(TEXT, None)
    password: str = setting(PASSWORD, "")
    auth_source: str = setting(TEXT, "admin")
    """The database in which the user was created; it is MongoDB's default as well."""
    replica_set: str | None = setting(TEXT, None)
    """The name of the replica set, so that no server of another one is talked to."""
    direct: bool = setting(BOOLEAN, False)
    """Whether to talk to this one server only, whatever members it names."""
    max_open_conns: int = setting(integer(1), 32)
    """The most connections to each server at one time, without the one or two that watch it."""
    max_idle_time: float = setting(SECONDS, 600.0)
    """A connection that was not used for so long is closed when it would be used again."""
    selection_timeout: float = setting(SECONDS, 3.0)
    """To find a server that takes the operation, such as a new primary; PyMongo's own default is 30 s."""
    acquire_timeout: float = setting(SECONDS, 3.0)
    """To wait for a connection when all are in use."""
    connect_timeout: float = setting(SECONDS, 3.0)
    """To connect to one server and log in."""
    read_timeout: float = setting(SECONDS, 10.0)
    """What one operation may take as a whole. The server is told of it, and works no longer for nobody.
    ``with pymongo.timeout(60):`` gives the operations in it another limit."""
    tls: bool = setting(BOOLEAN, False)
    """Whether to speak TLS; so it is with any of the following. A server without it is refused."""
    tls_ca: str | None = setting(PATH, None)
    """The authorities that vouch for the server's certificate, which has to be made out to `address`; without it, those
    of the system."""
    tls_cert: str | None = setting(PATH, None)
    """The certificate that is shown to the server, with its private key in the same file, as MongoDB wants it."""

    @property
    def servers(self) -> list[Server]:
        """Where to connect to first."""
        return parsed(self.address, self.port) or []

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls or any((self.tls_ca, self.tls_cert))

    @property
    def place(self) -> str:
        """The servers and the database, for errors."""
        return f"mongodb {told(self.servers)}/{self.dbname}"
