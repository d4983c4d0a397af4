"""Redis for tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from hrpc.testing.servers.backend import Backend
from hrpc.testing.servers.container import container, local_images
from hrpc.testing.servers.errors import ServerMissing
from hrpc.testing.servers.ports import reserved_port
from hrpc.testing.servers.program import find_program, program
from hrpc.testing.servers.server import Server

IMAGE = "redis:7"


class RedisServer(Server):
    """A running Redis; `password` is None when it asks for none."""

    name = "Redis"

    def __init__(self, backend: Backend, port: int, password: str | None) -> None:
        super().__init__(backend, port)
        self.password = password

    @property
    def settings(self) -> dict[str, Any]:
        """What ``redis.new()`` takes to connect to it, and a service reads in Consul KV."""
        found: dict[str, Any] = {"address": self.host, "port": self.port}
        return found if self.password is None else {**found, "password": self.password}

    def answers(self) -> bool:
        """Whether it says PONG; while it loads its data it does not."""
        login = f"AUTH {self.password}\r\n" if self.password else ""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(f"{login}PING\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as answer:
                    return b"+PONG\r\n" in answer.read()
        except OSError:
            return False


@contextmanager
def redis_server(
    password: str | None = None, *, port: int | None = None, options: Sequence[str] = ()
) -> Iterator[RedisServer]:
    """A Redis that answers, on a free port of 127.0.0.1; gone after the block.

    `options` are further ones of its command line. Every write is in its log before it is answered, so a kill loses
    nothing. Raises `ServerMissing` or `ServerFailed`.
    """
    with reserved_port(port) as reserved, _backend(reserved, password, options) as backend:
        server = RedisServer(backend, reserved, password)
        server.start()
        yield server


def _backend(port: int, password: str | None, options: Sequence[str]) -> AbstractContextManager[Backend]:
    def command(path: str, data: str) -> list[str]:
        login = ["--requirepass", password] if password else []
        durable = ["--dir", data, "--appendonly", "yes", "--save", ""]
        return [path, "--port", str(port), "--bind", "127.0.0.1", *durable, *login, *options]

    if IMAGE in local_images():
        return container(IMAGE, command("redis-server", "/data"), {})
    if path := find_program("redis-server"):
        return program(path, lambda folder, data: command(path, str(data)))
    raise ServerMissing("Redis", IMAGE, "redis-server")
