"""The settings of Redis: the keys and defaults of the Go framework, and a few limits of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hrpc.recipe.servers import Server, parsed, told
from hrpc.recipe.settings import (
    BOOLEAN,
    PASSWORD,
    PATH,
    SECONDS,
    SERVERS_OR_PATH,
    TEXT,
    Settings,
    integer,
    one_of,
    setting,
)


class RedisOptions(TypedDict, total=False):
    """What ``redis.new()`` takes; `RedisSettings` has the defaults. Durations are in seconds."""

    address: str | list[str]
    port: int
    db: int
    username: str
    password: str
    network: str
    max_retries: int
    max_open_conns: int
    connect_timeout: float
    acquire_timeout: float
    read_timeout: float
    decode_responses: bool
    tls: bool
    tls_ca: str
    tls_cert: str
    tls_key: str


@dataclass(frozen=True, slots=True)
class RedisSettings(Settings):
    """The settings of Redis. Durations are in seconds."""

    address: str = setting(SERVERS_OR_PATH)
    """The server, or several of which one is used: ``"a,b:6380"`` or ``["a", "b:6380"]``. When the one in use takes no
    connection, or says that it is a replica, the next one is used. With the network "unix" the path of a socket."""
    port: int = setting(integer(1, 65535), 6379)
    """That of each server whose address has none."""
    db: int = setting(integer(0), 0)
    username: str | None = setting(TEXT, None)
    password: str = setting(PASSWORD, "")
    network: str = setting(one_of("tcp", "unix"), "tcp")
    max_retries: int = setting(integer(-1, 100), 3)
    """How often connecting is tried again, within connect_timeout; -1 is as 0, as keys of the Go framework have it. A
    command is never repeated."""
    max_open_conns: int = setting(integer(1), 32)
    connect_timeout: float = setting(SECONDS, 1.0)
    """To connect and log in, as a whole, with all retries."""
    acquire_timeout: float = setting(SECONDS, 3.0)
    """To wait for a connection when all are in use."""
    read_timeout: float = setting(SECONDS, 3.0)
    """To wait for the answer to a command; 3 s is the default of go-redis."""
    decode_responses: bool = setting(BOOLEAN, False)
    """Whether answers are str instead of bytes."""
    tls: bool = setting(BOOLEAN, False)
    """Whether to speak TLS; so it is with any of the following."""
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
        return parsed(self.address, self.port) or [(self.address, self.port)]

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.network == "tcp" and (self.tls or any((self.tls_ca, self.tls_cert, self.tls_key)))

    @property
    def place(self) -> str:
        """The servers and the database, for errors."""
        where = self.address if self.network == "unix" else told(self.servers)
        return f"redis {where} db {self.db}"
