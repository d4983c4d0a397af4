"""``hrpc doctor``: one line per finding, what to do about it, and code 1 when something is wrong."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from hrpc.cli.doctor.agent import clock
from hrpc.testing import DevConsul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.cli.conftest import Command
from tests.cli.examined import findings, of, service


@pytest.fixture(params=["devconsul", "consul"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "devconsul":
        with DevConsul.in_thread() as fake:
            yield fake.address
    else:
        real: ConsulServer = request.getfixturevalue("own_consul")
        yield real.address


def test_consul_alone_is_examined_without_a_server(command: Command, address: str) -> None:
    done = command("doctor", CONFIGS_ADDR=address)
    assert done.returncode == 0
    lines = findings(done)
    assert {level for level, *_ in lines} == {"ok"}
    assert [subject for _, subject, _ in lines] == ["versions", "consul", "clock", "consul", "token"]
    assert of(lines, "token") == [("ok", "ACLs are off")]


def test_a_service_that_can_start_has_no_problem_and_leaves_nothing_behind(command: Command, address: str) -> None:
    service(command)
    done = command("doctor", "app:server", CONFIGS_ADDR=address)
    lines = findings(done)
    assert {level for level, *_ in lines} == {"ok"}, done.stdout
    assert done.returncode == 0
    reached = [text for _, text in of(lines, "address")]
    assert reached[0] == "127.0.0.1 (from HRPC_ADVERTISE) is registered, which only this machine reaches"
    assert reached[1].startswith("the agent reaches gRPC at 127.0.0.1:")
    assert reached[2].startswith("the agent reaches the health port at 127.0.0.1:")
    assert agent.get(address, "/v1/agent/services") == {}
    assert agent.get(address, "/v1/agent/checks") == {}


def test_the_entry_that_is_tried_is_never_seen_by_callers(
    command: Command, own_consul: ConsulServer, free_port: int
) -> None:
    service(command, health=free_port)
    with socket.socket() as silent:
        # Takes the check's connection and does not answer, so that the doctor has to wait and can be looked at.
        silent.bind(("127.0.0.9", free_port))
        silent.listen()
        process = command.start("doctor", "app", CONFIGS_ADDR=own_consul.address, HRPC_ADVERTISE="127.0.0.9")
        seen = []
        while process.running():
            own = agent.get(own_consul.address, "/v1/agent/services")
            seen += [entry["Tags"] for entry in own.values()]
            assert agent.get(own_consul.address, "/v1/health/service/orders?passing") == []
    assert ["hrpc-doctor"] in seen
    assert process.wait(10) == 1


def test_an_address_that_the_agent_cannot_reach_is_a_problem(command: Command, own_consul: ConsulServer) -> None:
    service(command)
    done = command("doctor", "app", CONFIGS_ADDR=own_consul.address, HRPC_ADVERTISE="127.0.0.9")
    level, told = of(findings(done), "address")[1]
    assert done.returncode == 1
    assert level == "problem"
    assert "the agent cannot reach gRPC at 127.0.0.9:" in told
    assert "connection refused" in told
    assert told.endswith("with hrpc.with_registration(address=…) or HRPC_ADVERTISE")


def test_a_port_in_use_by_somebody_else_is_a_problem_that_names_the_process(
    command: Command, own_consul: ConsulServer
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        service(command, port)
        done = command("doctor", "app", CONFIGS_ADDR=own_consul.address)
    lines = findings(done)
    assert done.returncode == 1
    [(level, told)] = [(level, text) for level, text in of(lines, "ports") if text.startswith("gRPC")]
    assert level == "problem"
    assert told.startswith(f"gRPC: 127.0.0.1:{port} is in use by ")
    assert f"(pid {os.getpid()}): end it, or take another port with hrpc.with_listen_port" in told
    assert [level for level, _ in of(lines, "address")] == ["warning"]


def test_a_service_that_runs_is_examined_where_it_runs(
    command: Command, own_consul: ConsulServer, free_port: int
) -> None:
    service(command, health=free_port)
    process = command.start("run", "app", CONFIGS_ADDR=own_consul.address, HRPC_ADVERTISE="127.0.0.1")
    port = process.line(lambda line: "serves on port" in line).partition("serves on port ")[2].partition(",")[0]
    done = command("doctor", "app", CONFIGS_ADDR=own_consul.address)
    assert ("ok", f"the agent reaches gRPC at 127.0.0.1:{port}") in of(findings(done), "address")

    service(command, int(port), free_port)
    done = command("doctor", "app", CONFIGS_ADDR=own_consul.address)
    assert done.returncode == 0, done.stdout
    lines = findings(done)
    assert [text for _, text in of(lines, "ports")] == [
        f"{purpose}: 127.0.0.1:{number} is in use by python (pid {process.pid}), where orders answers: it is running"
        for purpose, number in (("gRPC", port), ("health", free_port))
    ]
    assert ("ok", f"the agent reaches gRPC at 127.0.0.1:{port}") in of(lines, "address")
    assert process.end() == 0


def test_upstreams_are_told_with_how_many_are_well(command: Command, address: str) -> None:
    for number, tag in enumerate(["development", "development", "staging"]):
        body = {"Name": "users", "ID": f"users-{number}", "Port": 7000 + number, "Tags": [tag]}
        agent.put(address, "/v1/agent/service/register", json.dumps(body).encode())
    agent.put(address, "/v1/agent/service/maintenance/users-1?enable=true")
    body = {"Name": "mail", "ID": "mail", "Port": 7100, "Tags": ["staging"]}
    agent.put(address, "/v1/agent/service/register", json.dumps(body).encode())
    service(command, more='hrpc.with_upstreams("users", "mail", "nobody")')
    done = command("doctor", "app", CONFIGS_ADDR=address)
    assert of(findings(done), "upstream") == [
        ("ok", "users: 1 of 2 instances pass their checks"),
        (
            "warning",
            "mail: 1 instances, and none has the tag 'development': check hrpc.with_environment on both sides",
        ),
        (
            "warning",
            "nobody: no instance is seen: start one; or, when there is one, add to the policy  "
            'service "nobody" { policy = "read" }',
        ),
    ]
    assert done.returncode == 0


def test_a_database_without_its_key_or_with_a_wrong_one_is_a_problem(command: Command, address: str) -> None:
    service(command, more="hrpc.with_databases(mysql.new())")
    key = "development/databases/mysql"
    done = command("doctor", "app", CONFIGS_ADDR=address)
    assert done.returncode == 1
    [(level, told)] = of(findings(done), "databases")
    assert (level, told[:60]) == ("problem", f"mysql: key '{key}' does not exist in Consul KV"[:60])

    agent.put(address, f"/v1/kv/{key}", b'{"address": "127.0.0.1", "username": "o", "dbname": "o", "port": "x"}')
    [(level, told)] = of(findings(command("doctor", "app", CONFIGS_ADDR=address)), "databases")
    assert level == "problem"
    assert "port" in told
    assert "a whole number from 1 to 65535" in told


def test_a_database_that_answers_is_well(command: Command, address: str, mariadb: Any) -> None:
    agent.put(address, "/v1/kv/development/databases/mysql", json.dumps(mariadb.settings).encode())
    service(command, more="hrpc.with_databases(mysql.new())")
    done = command("doctor", "app", CONFIGS_ADDR=address)
    assert of(findings(done), "databases") == [
        ("ok", "mysql: answers, with the settings of the key development/databases/mysql")
    ]


def test_the_snapshot_is_told_with_what_is_in_it(command: Command, address: str) -> None:
    service(command, more='hrpc.with_snapshot("orders.snapshot"), hrpc.with_upstreams("users")')
    body = {"Name": "users", "ID": "users", "Port": 7000, "Tags": ["development"]}
    agent.put(address, "/v1/agent/service/register", json.dumps(body).encode())
    first = command("doctor", "app", CONFIGS_ADDR=address)
    assert of(findings(first), "snapshot") == [
        ("warning", "orders.snapshot: there is none yet: the service writes one when it runs with Consul")
    ]
    process = command.start("run", "app", CONFIGS_ADDR=address, HRPC_ADVERTISE="127.0.0.1")
    process.line(lambda line: "serves on port" in line)
    assert process.end() == 0
    [(level, told)] = of(findings(command("doctor", "app", CONFIGS_ADDR=address)), "snapshot")
    assert level == "ok"
    assert told.startswith("orders.snapshot: 0 keys and 1 services, the oldest of 0:00:")

    service(command, more='hrpc.with_snapshot("nowhere/orders.snapshot")')
    [(level, told)] = of(findings(command("doctor", "app", CONFIGS_ADDR=address)), "snapshot")
    assert level == "problem"
    assert "there is no folder 'nowhere': create it" in told


def test_without_consul_the_rest_is_examined(command: Command, free_port: int) -> None:
    service(command, more="hrpc.with_databases(mysql.new())")
    done = command("doctor", "app", CONFIGS_ADDR=f"127.0.0.1:{free_port}")
    lines = findings(done)
    assert done.returncode == 1
    [(level, told)] = of(lines, "consul")
    assert level == "problem"
    assert told.startswith(f"no answer from Consul at http://127.0.0.1:{free_port}: connection refused; start Consul")
    assert told.endswith("say where it is with --consul or CONFIGS_ADDR")
    assert [level for level, _ in of(lines, "ports")] == ["ok", "ok"]
    assert of(lines, "databases") == [("problem", "mysql: its settings are in Consul, which does not answer")]
    assert of(lines, "address") == of(lines, "rights") == []


def test_a_service_that_uses_no_consul_is_not_asked_for_one(command: Command) -> None:
    command.module("app", 'import hrpc\nserver = hrpc.new_server(hrpc.with_server_name("a"), hrpc.with_listen_port(0))')
    done = command("doctor", "app")
    assert done.returncode == 0
    assert of(findings(done), "consul") == [("ok", "the service uses none")]


def test_the_fake_is_a_problem_in_production(command: Command) -> None:
    service(command, more='hrpc.with_environment("production")')
    with DevConsul.in_thread() as fake:
        done = command("doctor", "app", CONFIGS_ADDR=fake.address)
    assert ("problem", "this is the fake of hrpc run --dev, which forgets everything: production needs a real one") in (
        of(findings(done), "consul")
    )
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("off", "level", "says"),
    [(0, "ok", "the same"), (-10, "warning", "10 s behind"), (10, "warning", "10 s ahead of"), (90, "problem", "90 s")],
)
def test_clocks_that_differ_are_told(off: float, level: str, says: str) -> None:
    found = clock({"Date": "Sat, 21 Nov 2026 11:31:48 GMT"}, 1795260708.5 + off)
    assert found.level == level
    assert says in found.text


def test_a_module_that_cannot_be_loaded_is_one_line_and_code_2(command: Command) -> None:
    done = command("doctor", "nothing:server")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
