"""``hrpc run``: it serves what the module made, and ends as the server ends."""

from __future__ import annotations

import re

import grpc
import pytest

from examples.demo import consul as asked
from examples.demo.process import ROOT, Process
from examples.greeter import greeter_pb2, greeter_pb2_grpc
from hrpc.testing import DevConsul
from hrpc.testing.servers import ConsulServer
from tests.cli.conftest import Command
from tests.cli.dev import DEV, agent_of, listed

LIMIT = 30.0

SERVICE = """
import hrpc
from examples.greeter import greeter_pb2, greeter_pb2_grpc

class Greeter(greeter_pb2_grpc.GreeterServicer):
    async def SayHello(self, request, context):
        return greeter_pb2.HelloReply(message="Hello!", served_by=server.address)

server = hrpc.new_server(
    hrpc.with_server_name("{name}"), hrpc.with_listen_port({port}, "127.0.0.1"), hrpc.with_health_check(0)
)
greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)
"""


def service(command: Command, name: str, port: int = 0) -> None:
    command.module(name, f"import sys\nsys.path.append({str(ROOT)!r})\n" + SERVICE.format(name=name, port=port))


def address_of(process: Process) -> str:
    """Waits until the service serves, and gives its address."""
    found = re.search(r"serves on port (\d+)", process.line(lambda line: "serves on port" in line))
    assert found
    return f"127.0.0.1:{found[1]}"


def said_hello(address: str) -> str:
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = greeter_pb2_grpc.GreeterStub(channel)
        return str(stub.SayHello(greeter_pb2.HelloRequest(name="Ada"), timeout=LIMIT).served_by)


def test_serves_the_module_of_the_current_folder_until_sigterm(command: Command) -> None:
    service(command, "alone")
    process = command.start("run", "alone:server")
    address = address_of(process)
    assert said_hello(address) == address
    assert process.end() == 0


def test_host_and_port_win_over_the_module(command: Command, free_port: int) -> None:
    service(command, "moved", port=1)
    process = command.start("run", "moved", "--host", "127.0.0.2", "--port", str(free_port))
    assert address_of(process) == f"127.0.0.1:{free_port}"
    assert said_hello(f"127.0.0.2:{free_port}") == f"127.0.0.2:{free_port}"
    assert process.end() == 0


def test_port_alone_keeps_the_host_of_the_module(command: Command) -> None:
    service(command, "kept", port=1)
    process = command.start("run", "kept", "--port", "0")
    address = address_of(process)
    assert said_hello(address) == address


def test_dev_brings_a_consul_that_knows_the_service(command: Command, free_port: int) -> None:
    service(command, "first")
    process = command.start(str(free_port), "run", "first:server", "--dev", code=DEV)
    address = address_of(process)
    assert process.lines[0] == (
        f"hrpc --dev: runs a fake Consul at http://127.0.0.1:{free_port}; it forgets everything at its end"
    )
    [entry] = listed(f"127.0.0.1:{free_port}", "first")
    assert f"{entry['Address']}:{entry['Port']}" == address
    assert said_hello(address) == address
    assert process.end() == 0
    assert sum("fake" in line for line in process.lines) == 1


def test_dev_joins_the_fake_consul_of_another_service(command: Command, free_port: int) -> None:
    service(command, "first")
    service(command, "second")
    first = command.start(str(free_port), "run", "first", "--dev", code=DEV)
    address_of(first)
    second = command.start(str(free_port), "run", "second", "--dev", code=DEV)
    address_of(second)

    agent = f"127.0.0.1:{free_port}"
    assert second.lines[0] == f"hrpc --dev: joins the fake Consul at http://{agent}, which another process runs"
    assert [len(listed(agent, name)) for name in ("first", "second")] == [1, 1]

    assert second.end() == 0
    assert [len(listed(agent, name)) for name in ("first", "second")] == [1, 0]
    assert first.end() == 0


def test_a_service_that_joined_is_listed_again_when_another_brings_a_new_fake_consul(
    command: Command, free_port: int
) -> None:
    service(command, "first")
    service(command, "second")
    first = command.start(str(free_port), "run", "first", "--dev", code=DEV)
    address_of(first)
    second = command.start(str(free_port), "run", "second", "--dev", code=DEV)
    address_of(second)
    assert first.end() == 0

    again = command.start(str(free_port), "run", "first", "--dev", code=DEV)
    address_of(again)

    def check() -> None:
        assert second.running()

    assert len(asked.wait_for_instances(f"127.0.0.1:{free_port}", "second", 1, check)) == 1
    assert second.end() == 0


def test_dev_leaves_a_real_consul_alone(command: Command, consul: ConsulServer) -> None:
    service(command, "apart")
    process = command.start(str(consul.port), "run", "apart", "--dev", code=DEV)
    address_of(process)

    agent = agent_of(process)
    assert process.lines[0] == (
        f"hrpc --dev: runs a fake Consul at http://{agent}, because {consul.address} is in use by something else"
    )
    assert len(listed(agent, "apart")) == 1
    assert listed(consul.address, "apart") == []
    assert process.end() == 0


async def test_dev_joins_a_fake_consul_that_a_test_runs(command: Command) -> None:
    service(command, "joined")
    with DevConsul.in_thread() as consul:
        process = command.start(consul.address.rpartition(":")[2], "run", "joined", "--dev", code=DEV)
        address_of(process)
        assert len(listed(consul.address, "joined")) == 1
        assert process.end() == 0
        assert listed(consul.address, "joined") == []


def test_workers_of_the_command_win_over_those_of_the_service(command: Command) -> None:
    service(command, "several")
    process = command.start("run", "several", "--workers", "2", HRPC_WORKERS="3")
    address = address_of(process)
    assert said_hello(address) == address
    process.line(lambda line: "with 2 workers" in line)
    assert process.end() == 0


def test_dev_serves_by_one_process_whatever_the_service_wants(command: Command, free_port: int) -> None:
    service(command, "several")
    process = command.start(str(free_port), "run", "several", "--dev", code=DEV, HRPC_WORKERS="auto")
    address_of(process)
    assert "hrpc --dev: serves by one process; hrpc.with_workers('auto') is for without --dev" in process.lines
    assert process.end() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--workers", "0"), '--workers: takes a number from 1 to 1024, or "auto", not 0'),
        (("--workers", "many"), "--workers: takes a number from 1 to 1024, or \"auto\", not 'many'"),
        (
            ("--workers", "2", "--reload"),
            "--workers does not go with --reload, which is for development and serves by one process",
        ),
        (
            ("--workers", "2", "--dev"),
            "--workers does not go with --dev, which is for development and serves by one process",
        ),
    ],
)
def test_workers_that_cannot_be_are_refused(command: Command, arguments: tuple[str, ...], said: str) -> None:
    service(command, "several")
    done = command("run", "several", *arguments)
    assert (done.returncode, done.stderr) == (2, f"hrpc: {said}\n")
