"""The settings of MySQL: the keys and defaults of the Go framework, and a few limits of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from hrpc.abc import endpoint
from hrpc.database.settings import HOST, PASSWORD, SECONDS, TEXT, Settings, integer, setting


class MySQLOptions(TypedDict, total=False):
    """What ``mysql.new()`` takes; `MySQLSettings` has the defaults. Durations are in seconds."""

    address: str
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


@dataclass(frozen=True, slots=True)
class MySQLSettings(Settings):
    """The settings of MySQL. Durations are in seconds."""

    address: str = setting(HOST)
    port: int = setting(integer(1, 65535), 3306)
    username: str = setting(TEXT)
    password: str = setting(PASSWORD, "")
    dbname: str = setting(TEXT)
    max_open_conns: int = setting(integer(1), 3)
    """The most connections at one time."""
    max_idle_conns: int = setting(integer(0), 1)
    """The connections kept for good; more stay for a few seconds after their last use."""
    connect_timeout: float = setting(SECONDS, 3.0)
    """To connect and log in, as a whole."""
    acquire_timeout: float = setting(SECONDS, 3.0)
    """To wait for a connection when all are in use."""
    read_timeout: float | None = setting(SECONDS, None)
    """What one statement may take; also told to the server, so that it stops working on it."""
    max_lifetime: float = setting(SECONDS, 3600.0)
    """What a connection may live; an hour is well below the 8 of MySQL's ``wait_timeout``."""

    @property
    def place(self) -> str:
        """The server and the database, for errors."""
        return f"mysql {endpoint(self.address, self.port)}/{self.dbname}"
