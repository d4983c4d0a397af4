"""The servers that the other tests stand on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest
import redis

from hrpc.testing.servers import (
    ConsulServer,
    MySQLServer,
    RabbitMQServer,
    RedisServer,
    Server,
    ServerFailed,
    ServerMissing,
    consul_server,
    mysql_server,
    rabbitmq_server,
    redis_server,
    reserved_port,
)
from hrpc.testing.servers.__main__ import store_settings


@dataclass(frozen=True)
class Case:
    """One kind of server, with a way to write one value and to read it again (None when it is not there)."""

    make: Callable[[], AbstractContextManager[Server]]
    write: Callable[[Any, str], None]
    read: Callable[[Any], str | None]


def consul_write(server: ConsulServer, value: str) -> None:
    request = urllib.request.Request(f"http://{server.address}/v1/kv/key", value.encode(), method="PUT")
    urllib.request.urlopen(request, timeout=20).close()


def consul_read(server: ConsulServer) -> str | None:
    try:
        with urllib.request.urlopen(f"http://{server.address}/v1/kv/key?raw", timeout=20) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise


def query(server: MySQLServer, *statements: str) -> Any:
    connection = pymysql.connect(
        host=server.host, port=server.port, user=server.username, password=server.password, database=server.database
    )
    with closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        connection.commit()
        return cursor.fetchone()


def mysql_write(server: MySQLServer, value: str) -> None:
    query(server, "CREATE TABLE kept (value TEXT)", f"INSERT INTO kept VALUES ('{value}')")


def mysql_read(server: MySQLServer) -> str | None:
    try:
        return query(server, "SELECT value FROM kept")[0]
    except pymysql.ProgrammingError:
        return None


def redis_write(server: RedisServer, value: str) -> None:
    with redis.Redis(host=server.host, port=server.port, password=server.password) as client:
        client.set("key", value)


def redis_read(server: RedisServer) -> str | None:
    with redis.Redis(host=server.host, port=server.port, password=server.password, decode_responses=True) as client:
        return client.get("key")


CASES = {
    "consul": Case(consul_server, consul_write, consul_read),
    "mysql": Case(mysql_server, mysql_write, mysql_read),
    "redis": Case(redis_server, redis_write, redis_read),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def processes_in(folder: Path) -> list[str]:
    """The programs that run in this folder, or have it in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (process / "cmdline").read_text(errors="replace")
            if str(folder) in line or Path(os.readlink(process / "cwd")).is_relative_to(folder):
                found.append(line)
    return found


def assert_no_process_stays_in(folder: Path) -> None:
    """Those that were killed with the one that was waited for, as epmd, are gone a moment later."""
    end = time.monotonic() + 20
    while found := processes_in(folder):
        assert time.monotonic() < end, found
        time.sleep(0.01)


def server_folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith("hrpc-ports-")]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which servers make their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_killed_server_comes_back_on_its_port_with_its_data(case: Case, launch: Any) -> None:
    server = launch(case.make)
    address = server.address
    case.write(server, "precious")

    server.kill()

    assert not server.running
    assert not server.answers()
    server.start()
    assert server.address == address
    assert case.read(server) == "precious"


def test_no_process_of_a_rabbitmq_that_ends_stays_behind(launch: Any, temporary: Path) -> None:
    """Neither the broker nor Erlang's epmd, which by itself would become a daemon of the machine."""
    server = launch(rabbitmq_server)
    assert server.answers()

    server.stop()

    assert not server.running
    assert not server.answers()
    assert_no_process_stays_in(temporary)


def test_wipe_empties_a_server_that_is_down_and_refuses_one_that_runs(case: Case, launch: Any) -> None:
    server = launch(case.make)
    case.write(server, "precious")
    with pytest.raises(ServerFailed, match="before its data are wiped"):
        server.wipe()

    server.kill()
    server.wipe()
    server.start()

    assert case.read(server) is None


def test_a_running_server_is_not_started_again(launch: Any) -> None:
    server = launch(redis_server)

    with pytest.raises(ServerFailed, match="runs already"):
        server.start()

    assert server.answers()


def test_a_stop_keeps_the_data_and_no_process_and_the_end_keeps_nothing(
    case: Case, temporary: Path, launch: Any
) -> None:
    server = launch(case.make)
    assert server.source.startswith("container") or processes_in(temporary)
    case.write(server, "precious")

    server.stop()

    assert not server.running
    assert_no_process_stays_in(temporary)
    server.start()
    assert case.read(server) == "precious"

    launch.end()

    assert not server.answers()
    assert_no_process_stays_in(temporary)
    assert server_folders(temporary) == []


def test_a_server_ends_with_a_test_run_that_is_killed(temporary: Path, launch: Any) -> None:
    if launch(redis_server).source.startswith("container"):
        pytest.skip("testcontainers' reaper sees to that, some ten seconds later")
    launch.end()
    script = """
from hrpc.testing.servers import redis_server
with redis_server() as server:
    print(server.port, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(temporary)},
    ) as run:
        assert run.stdout
        with socket.create_connection(("127.0.0.1", int(run.stdout.readline()))) as connection:
            connection.settimeout(20)
            # A connection that the server has not taken yet would be reset, not closed.
            connection.sendall(b"PING\r\n")
            assert connection.recv(64) == b"+PONG\r\n"

            run.kill()

            assert connection.recv(1) == b""
        # The watcher holds this pipe until it has removed the folder.
        assert run.stdout.read() == b""
    assert server_folders(temporary) == []


def test_servers_side_by_side_do_not_meet(case: Case, launch: Any) -> None:
    one, other = launch(case.make), launch(case.make)
    case.write(one, "one")

    assert one.address != other.address
    assert case.read(other) is None


def test_programs_of_mysql_have_temporary_folders_of_their_own(mariadb: MySQLServer, own_mariadb: MySQLServer) -> None:
    if mariadb.source.startswith("container"):
        pytest.skip("each container has a /tmp of its own")

    # One that starts deletes temporary tables of the other, which then fails, about once in four starts.
    assert query(mariadb, "SELECT @@tmpdir") != query(own_mariadb, "SELECT @@tmpdir")


def test_a_password_is_asked_for(launch: Any) -> None:
    server = launch(lambda: redis_server("opensesame"))

    assert not RedisServer(server._backend, server.port, password=None).answers()
    redis_write(server, "in")
    assert redis_read(server) == "in"


def test_the_settings_of_a_consul_are_merged(launch: Any) -> None:
    server = launch(lambda: consul_server({"datacenter": "elsewhere"}))

    with urllib.request.urlopen(f"http://{server.address}/v1/catalog/datacenters", timeout=20) as answer:
        assert answer.read() == b'["elsewhere"]'


def test_a_data_folder_of_the_caller_is_kept(tmp_path: Path, launch: Any) -> None:
    first = launch(lambda: consul_server(data=tmp_path))
    consul_write(first, "precious")
    first.kill()

    assert consul_read(launch(lambda: consul_server(data=tmp_path))) == "precious"


def test_a_server_that_cannot_start_says_why(launch: Any) -> None:
    with pytest.raises(ServerFailed, match=r"(?s)Consul.*ended while it started:.*no_such_setting"):
        launch(lambda: consul_server({"no_such_setting": 1}))


def test_the_services_for_development_store_the_settings_of_what_a_service_connects_to(
    launch: Any, mariadb: MySQLServer, redis_server: RedisServer, rabbitmq_server: RabbitMQServer
) -> None:
    consul = launch(consul_server)

    def stored(key: str) -> Any:
        with urllib.request.urlopen(f"http://{consul.address}/v1/kv/development/{key}?raw", timeout=20) as answer:
            return json.load(answer)

    store_settings(consul, mariadb, redis_server, rabbitmq_server)

    assert stored("databases/mysql") == mariadb.settings
    assert stored("databases/redis") == redis_server.settings
    assert stored("messagequeues/rabbitmq") == rabbitmq_server.settings


def test_settings_of_a_redis_have_the_password_that_it_asks_for(launch: Any) -> None:
    server = launch(lambda: redis_server("s3cret"))
    assert server.settings == {"address": "127.0.0.1", "port": server.port, "password": "s3cret"}


@pytest.mark.parametrize(("name", "package"), [("consul", "consul"), ("mysql", "mariadb-server"), ("redis", "redis")])
def test_a_missing_server_says_how_to_get_it(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("hrpc.testing.servers.program._FOLDERS", ())
    monkeypatch.setattr(f"hrpc.testing.servers.{name}.local_images", frozenset)

    with pytest.raises(ServerMissing, match=rf"make servers.*{package}.*Docker engine"), CASES[name].make():
        pass


def test_a_reserved_port_is_given_to_nobody_else() -> None:
    with reserved_port() as port, pytest.raises(ServerFailed, match=str(port)), reserved_port(port):
        pass


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServerFailed, match=str(port)), reserved_port(port):
            pass
