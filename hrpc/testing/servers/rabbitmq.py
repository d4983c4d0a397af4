"""RabbitMQ for tests."""

from __future__ import annotations

import secrets
import shlex
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hrpc.testing.servers.backend import Backend
from hrpc.testing.servers.container import container, local_images
from hrpc.testing.servers.errors import ServerMissing
from hrpc.testing.servers.ports import reserved_port
from hrpc.testing.servers.program import find_program, program
from hrpc.testing.servers.server import Server

IMAGE = "rabbitmq:4"
_USERNAME = "hrpc"
# The one in the PATH of Debian's packages is a script around this one, which runs as the user "rabbitmq" only.
_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

# epmd, by which Erlang's nodes find each other, would otherwise be a daemon that stays behind. `wait` returns when a
# signal comes, and then the broker has not ended yet.
_LAUNCH = """\
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 &
epmd=$!
{script} &
broker=$!
trap 'kill "$broker"' TERM
while kill -0 "$broker" 2>/dev/null; do wait "$broker"; done
kill "$epmd"
"""


class RabbitMQServer(Server):
    """A running RabbitMQ, in whose virtual host ``/`` `username` may do everything."""

    name = "RabbitMQ"

    def __init__(self, backend: Backend, port: int, username: str, password: str) -> None:
        super().__init__(backend, port)
        self.username = username
        self.password = password

    @property
    def settings(self) -> dict[str, Any]:
        """What ``hrpc_rabbitmq.new()`` takes to connect to it, and a service reads in Consul KV."""
        return {"address": self.host, "port": self.port, "username": self.username, "password": self.password}

    def answers(self) -> bool:
        """Whether a login to the virtual host succeeds."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                return _is_let_in(connection, self.username, self.password)
        except OSError:
            return False


@contextmanager
def rabbitmq_server(
    *, password: str | None = None, port: int | None = None, config: Mapping[str, str] | None = None
) -> Iterator[RabbitMQServer]:
    """A RabbitMQ that lets `username` in, on a free port of 127.0.0.1; gone after the block.

    The password is a new one unless given. `config` are further lines of its ``rabbitmq.conf``, such as
    ``{"listeners.ssl.1": "127.0.0.1:5671"}`` (programs only). What was confirmed to its publisher as persistent
    outlives a kill. A start takes seconds. Raises `ServerMissing` or `ServerFailed`.
    """
    secret = password or secrets.token_hex(8)
    with (
        reserved_port(port) as reserved,
        reserved_port() as distribution,
        reserved_port() as epmd,
    ):
        node = {
            "RABBITMQ_NODENAME": f"hrpc-{reserved}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        is_contained = IMAGE in local_images() and config is None
        chosen = _container(reserved, secret, node) if is_contained else _program(reserved, secret, node, config)
        with chosen as backend:
            server = RabbitMQServer(backend, reserved, _USERNAME, secret)
            server.start()
            yield server


def _container(port: int, password: str, node: Mapping[str, str]) -> AbstractContextManager[Backend]:
    environment = {
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DEFAULT_USER": _USERNAME,
        "RABBITMQ_DEFAULT_PASS": password,
        # The image's own would open one more port, which is the same for all.
        "RABBITMQ_ENABLED_PLUGINS_FILE": "/etc/rabbitmq/none",
        **node,
    }
    return container(IMAGE, ["rabbitmq-server"], environment)


def _program(
    port: int, password: str, node: Mapping[str, str], config: Mapping[str, str] | None
) -> AbstractContextManager[Backend]:
    path = str(_SCRIPT.resolve()) if _SCRIPT.exists() else find_program("rabbitmq-server")
    if path is None:
        raise ServerMissing("RabbitMQ", IMAGE, "rabbitmq-server")

    def command(folder: Path, data: Path) -> list[str]:
        lines = {
            "listeners.tcp.1": f"127.0.0.1:{port}",
            "default_user": _USERNAME,
            "default_pass": password,
            "loopback_users": "none",
            "log.console": "true",
            "log.console.level": "warning",
            "log.file": "false",
            **(config or {}),
        }
        configuration = folder / "rabbitmq.conf"
        configuration.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
        environment = {
            "HOME": folder,  # in which Erlang makes its cookie
            "RABBITMQ_CONFIG_FILE": configuration,
            "RABBITMQ_CONF_ENV_FILE": folder / "none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "none",
            "RABBITMQ_MNESIA_BASE": data,
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": folder / "pid",
            "ERL_FLAGS": "-start_epmd false",
            **node,
        }
        launch = folder / "launch"
        exports = "".join(f"export {key}={shlex.quote(str(value))}\n" for key, value in environment.items())
        launch.write_text(exports + _LAUNCH.format(script=shlex.quote(path)))
        return ["/bin/sh", str(launch)]

    return program(path, command, version_argument=None)


def _is_let_in(connection: socket.socket, username: str, password: str) -> bool:
    # AMQP 0-9-1, section 2.2.4: start, start-ok, tune, tune-ok, open, open-ok, close; all are methods of class 10.
    login = f"\0{username}\0{password}".encode()
    with connection.makefile("rb") as frames:
        connection.sendall(b"AMQP\0\0\x09\x01")
        if _read(frames)[0] != 10:
            return False
        start_ok = struct.pack(">I", 0) + b"\x05PLAIN" + struct.pack(">I", len(login)) + login + b"\x05en_US"
        connection.sendall(_frame(11, start_ok))
        tune, limits = _read(frames)
        if tune != 30:
            return False
        connection.sendall(_frame(31, limits) + _frame(40, b"\x01/\0\0"))
        if _read(frames)[0] != 41:
            return False
        connection.sendall(_frame(50, struct.pack(">HBHH", 200, 0, 0, 0)))
        return _read(frames)[0] == 51


def _frame(method: int, arguments: bytes) -> bytes:
    payload = struct.pack(">HH", 10, method) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


def _read(frames: BinaryIO) -> tuple[int | None, bytes]:
    """The next method and its arguments; None where the connection ends instead."""
    head = frames.read(7)
    payload = frames.read(struct.unpack(">BHI", head)[2] + 1) if len(head) == 7 else b""
    return (struct.unpack(">HH", payload[:4])[1], payload[4:-1]) if len(payload) > 4 else (None, b"")
