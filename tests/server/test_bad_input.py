"""What a user can get wrong: one clear line, exit code 1, nothing left behind, no traceback of a library."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import hrpc
from hrpc.database import mysql, redis
from hrpc.errors import InvalidConfig, NotInitialized, NotRunning
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer, consul_server
from tests import agent
from tests.echo import add_echo
from tests.process import running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
ENVIRON = {"HRPC_ADVERTISE": "127.0.0.1"}


async def fails(folder: Path, *options: str, says: str, **environ: str) -> str:
    """Starts a service that cannot start; gives the line that says why."""
    async with running(script(folder, LOCAL, *options), ENVIRON | environ) as process:
        assert await process.ended() == 1, process.output
        line = json.loads(await process.says("did not start"))
    assert says in line["msg"]
    assert "Traceback" not in process.output
    assert "serves on port" not in process.output
    return str(line["msg"])


def consul_option(address: str, **more: str) -> str:
    return f"hrpc.with_consul(Consul(address={address!r}, {', '.join(f'{k}={v}' for k, v in more.items())}))"


@pytest.mark.parametrize(
    ("option", "purpose", "change"),
    [
        ('hrpc.with_listen_port({port}, host="127.0.0.1")', "bind: gRPC", "hrpc.with_listen_port"),
        ("hrpc.with_health_check({port})", "health: health check", "hrpc.with_health_check(port=…)"),
        ("hrpc.with_metrics({port})", "metrics: metrics", "hrpc.with_metrics(port=…)"),
    ],
)
async def test_a_port_that_is_taken(tmp_path: Path, option: str, purpose: str, change: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = await fails(tmp_path, option.format(port=port), says=f"{purpose}: 127.0.0.1:{port} is in use by another")
    assert change in line


async def test_an_interface_that_this_machine_does_not_have(tmp_path: Path) -> None:
    await fails(tmp_path, 'hrpc.with_listen_port(0, host="203.0.113.7")', says="cannot listen on 203.0.113.7:0")
    await fails(tmp_path, 'hrpc.with_listen_port(0, host="nonsense")', says="'nonsense' is not an IP address")


async def test_consul_that_does_not_answer_is_named_with_how_long_it_was_tried(tmp_path: Path, free_port: int) -> None:
    line = await fails(
        tmp_path,
        consul_option(f"127.0.0.1:{free_port}", timeout="0.3"),
        says=f"consul: no answer from Consul at http://127.0.0.1:{free_port}: connection refused (tried for ",
    )
    assert "CONFIGS_ADDR" in line


async def test_consul_that_accepts_and_is_silent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        await fails(tmp_path, consul_option(address, timeout="0.3"), says="within 0.3 s")


async def test_something_that_is_not_consul(tmp_path: Path, redis_server: RedisServer) -> None:
    await fails(tmp_path, consul_option(redis_server.address, timeout="0.3"), says=f"http://{redis_server.address}")


async def test_a_datacenter_that_does_not_exist(tmp_path: Path, consul: ConsulServer) -> None:
    option = consul_option(consul.address, datacenter="'nowhere'")
    line = await fails(tmp_path, option, says="knows no datacenter 'nowhere'")
    assert "CONFIGS_DATACENTER" in line


ACL = {
    "acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": "m" * 8 + "-0000-0000-0000-" + "0" * 12}}
}


async def test_a_token_that_may_not_register(
    tmp_path: Path, launch: Callable[[Callable[[], object]], ConsulServer]
) -> None:
    own = launch(lambda: consul_server(ACL))
    option = consul_option(own.address, token="'s3cret-token'")
    line = await fails(tmp_path, option, says="answers 403 to PUT /v1/agent/service/register")
    assert "CONFIGS_TOKEN" in line
    assert "s3cret-token" not in line


async def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    await fails(
        tmp_path,
        "hrpc.with_consul()",
        says="the token file '/nowhere/token'",
        CONSUL_HTTP_TOKEN_FILE="/nowhere/token",
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "key '{key}' does not exist in Consul KV"),
        ("{not json", "key '{key}': expected JSON, found what is not JSON"),
        ("[1]", "key '{key}': expected an object, found a list"),
        ('{"address": 5}', "field 'address'"),
        ('{"address": "127.0.0.1", "username": "u", "dbname": "d", "port": "3306"}', "field 'port'"),
        ('{"address": "127.0.0.1"}', "field '"),
    ],
)
async def test_settings_of_a_database_that_are_missing_or_wrong(
    tmp_path: Path, consul: ConsulServer, value: str | None, says: str
) -> None:
    prefix = tmp_path.name
    key = f"{prefix}/databases/mysql"
    if value is not None:
        await agent.store(consul.address, key, value)
    options = (consul_option(consul.address, prefix=repr(prefix)), "hrpc.with_databases(mysql.new())")
    before = await agent.ids(consul.address, "tested")
    line = await fails(tmp_path, *options, says=says.format(key=key))
    assert re.match(r"tested did not start: \[step \d+/\d+\] mysql: ", line)
    assert await agent.ids(consul.address, "tested") <= before


def mysql_option(server: MySQLServer, **changes: object) -> str:
    given = server.settings | changes
    return f"hrpc.with_databases(mysql.new({', '.join(f'{key}={value!r}' for key, value in given.items())}))"


async def test_mysql_that_is_down_or_does_not_let_us_in(
    tmp_path: Path, mariadb: MySQLServer, free_port: int, consul: ConsulServer
) -> None:
    registry = consul_option(consul.address)
    before = await agent.ids(consul.address, "tested")
    await fails(tmp_path, registry, mysql_option(mariadb, port=free_port), says=f"127.0.0.1:{free_port}")
    line = await fails(tmp_path, registry, mysql_option(mariadb, password="wr0ng"), says=mariadb.username)
    assert "wr0ng" not in line
    await fails(tmp_path, registry, mysql_option(mariadb, dbname="nowhere"), says="'nowhere'")
    with socket.create_server((mariadb.host, 0)) as silent:
        port = silent.getsockname()[1]
        await fails(tmp_path, registry, mysql_option(mariadb, port=port, connect_timeout=0.3), says=f"127.0.0.1:{port}")
    assert await agent.ids(consul.address, "tested") <= before


async def test_redis_that_is_down(tmp_path: Path, free_port: int) -> None:
    option = f"hrpc.with_databases(redis.new(address='127.0.0.1', port={free_port}))"
    await fails(tmp_path, option, says=f"127.0.0.1:{free_port}")


def certificate(folder: Path, name: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)


async def test_certificates_that_do_not_fit_or_are_none(tmp_path: Path) -> None:
    certificate(tmp_path, "a")
    certificate(tmp_path, "b")

    def option(public: str, private: str) -> str:
        return f"hrpc.with_server_certs({str(tmp_path / public)!r}, {str(tmp_path / private)!r})"

    await fails(tmp_path, option("a.pem", "b.key"), says="does not fit the certificate")
    await fails(tmp_path, option("a.pem", "nowhere.key"), says="No such file")
    await fails(tmp_path, option("service.py", "a.key"), says="are not a PEM certificate and its private key")


def test_get_before_the_start_says_what_to_do() -> None:
    with pytest.raises(NotRunning, match=r"mysql.* no hrpc server is running in this event loop .*with_databases"):
        mysql.get()
    with pytest.raises(NotRunning, match=r"redis.*with_databases"):
        redis.get()
    with pytest.raises(NotInitialized, match=r"configs: no hrpc server is running"):
        hrpc.configs.get("a")
    with pytest.raises(NotRunning, match=r"service: no hrpc server is running"):
        hrpc.service.get("users")


async def test_get_without_the_option_names_the_option() -> None:
    server = hrpc.new_server(hrpc.with_server_name("tested"), hrpc.with_listen_port(0, host="127.0.0.1"))
    add_echo(server)
    async with server:
        with pytest.raises(NotRunning, match=r"the server 'tested' has none; pass .*with_databases\(mysql.new\(\)\)"):
            mysql.get()
        with pytest.raises(NotInitialized, match=r"pass hrpc.with_consul\(…\) to new_server"):
            hrpc.configs.get("a")
        with pytest.raises(NotRunning, match=r"pass hrpc.with_consul\(…\) or hrpc.with_static_services"):
            hrpc.service.get("users")


async def test_keys_of_configs_that_are_missing_or_not_text(
    consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = hrpc.with_consul(hrpc.Consul(address=consul.address, prefix="bad-input"))
    limits = hrpc.with_graceful_stop(drain_delay=0)
    local = hrpc.with_listen_port(0, host="127.0.0.1")
    async with hrpc.new_server(hrpc.with_server_name("tested"), local, option, limits):
        with pytest.raises(hrpc.errors.KeyNotExist, match="'bad-input/nothing'"):
            hrpc.configs.get("nothing")
        with pytest.raises(hrpc.errors.KeyNotExist, match="'bad-input/services/tested/nothing'"):
            hrpc.configs.sget("nothing")
        with pytest.raises(ValueError, match="is not a key"):
            hrpc.configs.get("/")
        await asyncio.to_thread(agent.put, consul.address, "/v1/kv/bad-input/image", b"\xff\xfe")
        with pytest.raises(InvalidConfig, match=r"'bad-input/image'.*: expected text in UTF-8"):
            hrpc.configs.get("image")
