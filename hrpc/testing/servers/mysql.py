"""MySQL, or MariaDB in its place, for tests."""

from __future__ import annotations

import functools
import io
import os
import secrets
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from hrpc.testing.servers.backend import Backend
from hrpc.testing.servers.container import container, local_images
from hrpc.testing.servers.errors import ServerFailed, ServerMissing
from hrpc.testing.servers.ports import reserved_port
from hrpc.testing.servers.program import find_program, program
from hrpc.testing.servers.server import Server

IMAGE = "mysql:8.4"
DATABASE = "hrpc"

_LOG_SIZE = "16M"

# Written to the system at each commit, so a kill of the process loses nothing, but not forced to the disk. The options
# with `loose-` exist only in MySQL: its default way to log in needs a package for cryptography at the client.
_OPTIONS = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=16M",
    f"--innodb-log-file-size={_LOG_SIZE}",
    "--performance-schema=OFF",
    "--skip-log-bin",
    "--loose-mysqlx=OFF",
    "--loose-mysql-native-password=ON",
    "--loose-authentication-policy=mysql_native_password",
]

_SETUP = f"""\
CREATE DATABASE IF NOT EXISTS {DATABASE};
CREATE USER IF NOT EXISTS '{{username}}'@'%' IDENTIFIED BY '{{password}}';
GRANT ALL ON *.* TO '{{username}}'@'%' WITH GRANT OPTION;
"""


class MySQLServer(Server):
    """A running MySQL with an empty `database`, in which `username` may do everything, also with the server itself."""

    name = "MySQL"

    def __init__(self, backend: Backend, port: int, username: str, password: str) -> None:
        super().__init__(backend, port)
        self.username = username
        self.password = password
        self.database = DATABASE

    @property
    def settings(self) -> dict[str, Any]:
        """What ``mysql.new()`` takes to connect to it, and a service reads in Consul KV."""
        login = {"username": self.username, "password": self.password, "dbname": self.database}
        return {"address": self.host, "port": self.port, **login}

    def answers(self) -> bool:
        """Whether a login to the database succeeds."""
        import pymysql

        try:
            pymysql.connect(
                host=self.host,
                port=self.port,
                user=self.username,
                password=self.password,
                database=self.database,
                connect_timeout=1,
            ).close()
        except pymysql.MySQLError:
            return False
        return True


@contextmanager
def mysql_server(
    *, password: str | None = None, port: int | None = None, options: Sequence[str] = ()
) -> Iterator[MySQLServer]:
    """A MySQL that lets `username` in, on a free port of 127.0.0.1; gone after the block.

    The password is a new one unless given; `options` are further ones of its command line. A kill loses nothing
    that was committed. Raises `ServerMissing` or `ServerFailed`. Needs ``hrpc[mysql]``.
    """
    secret = password or secrets.token_hex(8)
    contained = IMAGE in local_images()
    username = "root" if contained else "hrpc"
    with reserved_port(port) as reserved:
        chosen = _container(reserved, secret, options) if contained else _program(reserved, username, secret, options)
        with chosen as backend:
            server = MySQLServer(backend, reserved, username, secret)
            server.start()
            yield server


def _container(port: int, password: str, options: Sequence[str]) -> AbstractContextManager[Backend]:
    environment = {"MYSQL_ROOT_PASSWORD": password, "MYSQL_DATABASE": DATABASE}
    return container(IMAGE, ["mysqld", f"--port={port}", *_OPTIONS, *options], environment)


def _program(port: int, username: str, password: str, options: Sequence[str]) -> AbstractContextManager[Backend]:
    path = find_program("mariadbd", "mysqld")
    installer = find_program("mariadb-install-db")
    if path is None:
        raise ServerMissing("MySQL", IMAGE, "mariadb-server")
    user = _user()

    def fill(data: Path) -> None:
        with tarfile.open(fileobj=io.BytesIO(_new_data(path, installer))) as files:
            # Python below 3.11.4, such as Debian 12's, knows no filters.
            files.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
            files.extractall(data)

    def command(folder: Path, data: Path) -> list[str]:
        setup = folder / "setup.sql"
        setup.write_text(_SETUP.format(username=username, password=password))
        own = [
            f"--datadir={data}",
            f"--tmpdir={folder}",
            f"--init-file={setup}",
            f"--socket={folder}/sock",
            f"--pid-file={folder}/pid",
        ]
        return [path, "--no-defaults", f"--port={port}", *own, *_OPTIONS, *options, *user]

    return program(path, command, fill=fill)


def _user() -> list[str]:
    # Both programs refuse to run as root unless they are told to.
    return ["--user=root"] if os.geteuid() == 0 else []


@functools.cache
def _new_data(path: str, installer: str | None) -> bytes:
    """The files of a new MySQL, packed. To make them takes seconds of waiting for the disk, to unpack them none."""
    with tempfile.TemporaryDirectory(prefix="hrpc-mysql-") as name:
        data = Path(name, "data")
        data.mkdir()
        # A starting server deletes what it takes for left-overs of its own in the temporary folder, also another's.
        own = [
            "--no-defaults",
            f"--datadir={data}",
            f"--tmpdir={name}",
            f"--innodb-log-file-size={_LOG_SIZE}",
            *_user(),
        ]
        if installer:
            _run([installer, *own, "--skip-test-db", "--skip-name-resolve"])
        else:
            _run([path, *own, "--initialize-insecure"])
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as files:
            files.add(data, ".")
        return packed.getvalue()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise ServerFailed(f"{command[0]} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
