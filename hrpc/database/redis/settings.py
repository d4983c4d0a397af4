"""The settings of Redis: the keys and defaults of the Go framework, and a few limits of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hrpc.abc import endpoint
from hrpc.database.settings import (
    ADDRESS,
    BOOLEAN,
    PASSWORD,
    SECONDS,
    TEXT,
    Settings,
    integer,
    one_of,
    setting,
)


class RedisOptions(TypedDict, total=False):
    """What ``redis.new()`` takes; `RedisSettings` has the defaults. Durations are in seconds."""

    address: str
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


@dataclass(frozen=True, slots=True)
class RedisSettings(Settings):
    """The settings of Redis. Durations are in seconds."""

    address: str = setting(ADDRESS)
    """A host, or with the network "unix" the path of a socket."""
    port: int = setting(integer(1, 65535), 6379)
    db: int = setting(integer(0), 0)
    username: str | None = setting(TEXT, None)
    password: str = setting(PASSWORD, "")
    network: str = setting(one_of("tcp", "unix"), "tcp")
    max_retries: int = setting(integer(0, 100), 3)
    """How often connecting is tried again, within connect_timeout. A command is never repeated."""
    max_open_conns: int = setting(integer(1), 32)
    connect_timeout: float = setting(SECONDS, 1.0)
    """To connect and log in, as a whole, with all retries."""
    acquire_timeout: float = setting(SECONDS, 3.0)
    """To wait for a connection when all are in use."""
    read_timeout: float = setting(SECONDS, 3.0)
    """To wait for the answer to a command; 3 s is the default of go-redis."""
    decode_responses: bool = setting(BOOLEAN, False)
    """Whether answers are str instead of bytes."""

    @property
    def place(self) -> str:
        """The server and the database, for errors."""
        where = self.address if self.network == "unix" else endpoint(self.address, self.port)
        return f"redis {where} db {self.db}"
