"""The settings of MySQL: the keys and defaults of the Go framework, and a few limits of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hrpc.recipe.servers import Server, parsed, told
from hrpc.recipe.settings import BOOLEAN, PASSWORD, PATH, SECONDS, SERVERS, TEXT, Settings, integer, setting


class MySQLOptions(TypedDict, total=False):
    """What ``mysql.new()`` takes; `MySQLSettings` has the defaults. Durations are in seconds."""

    address: str | list[str]
    port: int
    username: str
    password: str
    dbname: str
    max_open_conns: int
    max_idle_conns: int
    connect_timeout: float
    acquire_timeout: float
    read_timeout: float | None
    max_lifetime: float
    deadline_limit: bool
    tls: bool
    tls_ca: str
    tls_cert: str
    tls_key: str


@dataclass(frozen=True, slots=True)
class MySQLSettings(Settings):
    """The settings of MySQL. Durations are in seconds."""

    address: str = setting(SERVERS)
    """The server, or several of which one is used: ``"a,b:3307"`` or ``["a", "b:3307"]``. When the one in use takes no
    connection, or says that it is read-only, the next one is used."""
    port: int = setting(integer(1, 65535), 3306)
    """That of each server whose address has none."""
    username: str = setting(TEXT)
    password: str = setting(PASSWORD, "")
    dbname: str = setting(TEXT)
    max_open_conns: int = setting(integer(1), 3)
    """The most connections at one time."""
    max_idle_conns: int = setting(integer(0), 1)
    """The connections kept for good; more stay for a few seconds after their last use."""
    connect_timeout: float = setting(SECONDS, 3.0)
    """To connect and log in, as a whole; with several servers each has its share of what is left."""
    acquire_timeout: float = setting(SECONDS, 3.0)
    """To wait for a connection when all are in use."""
    read_timeout: float | None = setting(SECONDS, None)
    """What one statement may take; also told to the server, so that it stops working on it."""
    max_lifetime: float = setting(SECONDS, 3600.0)
    """What a connection may live; an hour is well below the 8 of MySQL's ``wait_timeout``."""

    deadline_limit: bool = setting(BOOLEAN, False)
    """Whether the server is told, with each statement, when the deadline of the call is, so that it works no longer for
    nobody. It costs the server some time for each statement; on MySQL it is for what reads only."""
    tls: bool = setting(BOOLEAN, False)
    """Whether to speak TLS; so it is with any of the following. A server without it is refused."""
    tls_ca: str | None = setting(PATH, None)
    """The authorities that vouch for the server's certificate, which has to be made out to `address`; without it, those
    of the system."""
    tls_cert: str | None = setting(PATH, None)
    """The certificate that is shown to the server."""
    tls_key: str | None = setting(PATH, None)
    """The private key of `tls_cert`; it may be in the same file."""

    @property
    def servers(self) -> list[Server]:
        """Where to connect to, in the order of preference."""
        return parsed(self.address, self.port) or []

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls or any((self.tls_ca, self.tls_cert, self.tls_key))

    @property
    def place(self) -> str:
        """The servers and the database, for errors."""
        return f"mysql {told(self.servers)}/{self.dbname}"

    def place_at(self, server: Server) -> str:
        """One of the servers and the database, for errors."""
        return f"mysql {told([server])}/{self.dbname}"
