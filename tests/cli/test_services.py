"""``hrpc services``: what Consul lists, as a table, as JSON, and followed."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hrpc.testing import DevConsul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.cli.conftest import Command

TOKEN = "7f1c2b1e-5d0a-4c43-9a5e-0f6f8a3f9d11"
ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": TOKEN}}}


@pytest.fixture(params=["devconsul", "consul"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """An agent with the services users, with an instance that is out of rotation, and mail."""
    if request.param == "devconsul":
        with DevConsul.in_thread() as fake:
            yield fake.address
    else:
        real: ConsulServer = request.getfixturevalue("own_consul")
        yield real.address


def register(address: str, name: str, number: int, **fields: object) -> None:
    body = {"Name": name, "ID": f"{name}-{number}", "Address": "10.0.0.1", "Port": 7000 + number} | fields
    agent.put(address, "/v1/agent/service/register", json.dumps(body).encode())


def test_services_are_a_table_of_their_instances(command: Command, address: str) -> None:
    register(address, "users", 1, Weights={"Passing": 3}, Meta={"version": "1.2", "zone": "a"}, Tags=["production"])
    register(address, "mail", 2)
    done = command("services", CONFIGS_ADDR=address)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["SERVICE", "INSTANCE", "ADDRESS", "HEALTH", "WEIGHT", "VERSION", "ZONE", "TAGS"]
    assert [line[0] for line in lines[1:]] == ["consul", "mail", "users"]
    assert lines[2] == ["mail", "mail-2", "10.0.0.1:7002", "passing", "1", "-", "-", "-"]
    assert lines[3] == ["users", "users-1", "10.0.0.1:7001", "passing", "3", "1.2", "a", "production"]


def test_one_service_says_what_its_checks_say(command: Command, address: str) -> None:
    register(address, "users", 1, Check={"CheckID": "c", "Name": "users http", "TTL": "60s", "Status": "passing"})
    register(address, "users", 2)
    agent.put(address, "/v1/agent/check/fail/c?note=disk+full")
    agent.put(address, "/v1/agent/service/maintenance/users-2?enable=true&reason=rolling+back")
    done = command("services", "users", "--consul", address)
    assert [line.split()[3] for line in done.stdout.splitlines()[1:3]] == ["critical", "maintenance"]
    assert done.stdout.splitlines()[3:] == [
        "",
        "users-1: 'users http' is critical: disk full",
        "users-2: 'Service Maintenance Mode' is critical: rolling back",
    ]


def test_json_has_what_the_table_has_and_the_meta(command: Command, address: str) -> None:
    register(address, "users", 1, Meta={"version": "1.2", "protocol": "grpc"})
    done = command("services", "users", "--json", CONFIGS_ADDR=address)
    [told] = json.loads(done.stdout)["users"]
    assert (told["id"], told["address"], told["port"], told["health"]) == ("users-1", "10.0.0.1", 7001, "passing")
    assert (told["version"], told["zone"], told["meta"]["protocol"], told["failing"]) == ("1.2", None, "grpc", [])


def test_watch_tells_every_change_until_ctrl_c(command: Command, address: str) -> None:
    register(address, "users", 1)
    process = command.start("services", "users", "--watch", "--json", CONFIGS_ADDR=address)
    process.line(lambda line: [each["id"] for each in json.loads(line)["users"]] == ["users-1"])
    register(address, "users", 2)
    process.line(lambda line: [each["id"] for each in json.loads(line)["users"]] == ["users-1", "users-2"])
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 0


def test_watch_of_all_goes_on_when_consul_is_back(command: Command, own_consul: ConsulServer) -> None:
    process = command.start("services", "--watch", CONFIGS_ADDR=own_consul.address)
    process.line(lambda line: line.startswith("consul"))
    own_consul.kill()
    process.line(lambda line: line.startswith("hrpc: no answer from Consul at") and line.endswith("; tries again"))
    own_consul.start()
    register(own_consul.address, "users", 1, Check={"TTL": "60s", "Status": "passing"})
    process.line(lambda line: line.startswith("users  ") and " passing " in line)


def test_a_service_that_is_not_there_is_one_line_and_code_1(command: Command, address: str) -> None:
    name = f"nobody-{uuid.uuid4().hex[:6]}"
    done = command("services", name, CONFIGS_ADDR=address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"hrpc: Consul at http://{address} lists no service {name!r}; there are consul, as far as the ACL token may "
        "see\n"
    )


def test_the_token_may_come_from_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with DevConsul.in_thread(token=TOKEN) as fake:
        assert len(command("services", CONFIGS_ADDR=fake.address).stdout.splitlines()) == 1
        wrong = command("services", CONFIGS_ADDR=fake.address, CONFIGS_TOKEN=str(uuid.uuid4()))
        assert wrong.returncode == 1
        assert "answers 403" in wrong.stderr
        assert wrong.stderr.count("\n") == 1
        right = command("services", "--token-file", "token", CONFIGS_ADDR=fake.address, CONFIGS_TOKEN="other")
        assert right.stdout.splitlines()[1].startswith("consul")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["services", "a/b"], "'a/b' is not the name of a service"),
        (["services", "--consul", "nowhere:99999"], "--consul: Consul address 'nowhere:99999': takes host:port"),
        (["services", "--token-file", "away"], "the token file 'away'"),
    ],
)
def test_a_wrong_use_is_one_line(command: Command, arguments: list[str], says: str) -> None:
    done = command(*arguments)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.startswith(f"hrpc: {says}")
    assert done.stderr.count("\n") == 1


def test_without_an_answer_it_is_one_line_and_code_1(command: Command, free_port: int) -> None:
    done = command("services", "--consul", f"127.0.0.1:{free_port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"hrpc: no answer from Consul at http://127.0.0.1:{free_port}: connection refused")
    assert done.stderr.endswith("; start Consul there, or say where it is with --consul or CONFIGS_ADDR\n")
