"""``hrpc run --reload``: what is changed is served, on the same port, and no mistake ends the watching."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
from pathlib import Path

import grpc
import pytest

from examples.demo.process import ROOT, Process
from examples.greeter import greeter_pb2, greeter_pb2_grpc
from hrpc.cli.reload.files import matters, not_generated, told
from tests.cli.conftest import Command
from tests.cli.dev import DEV, agent_of, listed

LIMIT = 30.0

SERVICE = f"""
import sys
sys.path.append({str(ROOT)!r})
import os
import hrpc
from examples.greeter import greeter_pb2, greeter_pb2_grpc

class Greeter(greeter_pb2_grpc.GreeterServicer):
    async def SayHello(self, request, context):
        return greeter_pb2.HelloReply(message="WORD", served_by=str(os.getpid()))

server = hrpc.new_server(hrpc.with_server_name("edited"), hrpc.with_listen_port(0, "127.0.0.1"))
greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)
"""


def edited(command: Command, word: str) -> None:
    command.module("edited", SERVICE.replace("WORD", word))


def times(process: Process, text: str, count: int) -> str:
    """Waits until lines with `text` have come as often; gives the last one."""
    process.line(lambda _: len([line for line in process.lines if text in line]) >= count)
    return [line for line in process.lines if text in line][count - 1]


def port_of(process: Process, start: int = 1) -> int:
    found = re.search(r"serves on port (\d+)", times(process, "serves on port", start))
    assert found
    return int(found[1])


def said_hello(port: int) -> tuple[str, int]:
    """What it says, and the process that says it."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        reply = greeter_pb2_grpc.GreeterStub(channel).SayHello(greeter_pb2.HelloRequest(name="Ada"), timeout=LIMIT)
        return reply.message, int(reply.served_by)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_changed_is_served_on_the_same_port(command: Command) -> None:
    edited(command, "one")
    process = command.start("run", "edited", "--reload")
    port = port_of(process)
    first, pid = said_hello(port)
    edited(command, "two")  # of the same size, and perhaps within the same second
    assert port_of(process, start=2) == port
    assert (first, said_hello(port)[0]) == ("one", "two")
    assert "hrpc --reload: edited.py changed" in process.lines
    assert not is_running(pid)
    assert process.end() == 0


def test_a_broken_module_is_shown_and_its_port_kept_until_it_is_mended(command: Command) -> None:
    edited(command, "one")
    process = command.start("run", "edited", "--reload")
    port = port_of(process)
    command.module("edited", "import hrpc\nserver = hrpc.new_server(\n")
    times(process, "it has ended with the exit code 1; a change starts it again", 1)
    assert any("SyntaxError: '(' was never closed" in line for line in process.lines)
    with socket.socket() as other, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        other.bind(("127.0.0.1", port))
    edited(command, "two")
    assert port_of(process, start=2) == port
    assert said_hello(port)[0] == "two"
    assert process.end() == 0


def test_a_module_that_is_broken_from_the_beginning_is_waited_for(command: Command) -> None:
    command.module("edited", "import does_not_exist\n")
    process = command.start("run", "edited", "--reload")
    times(process, "No module named 'does_not_exist'", 1)
    times(process, "a change starts it again", 1)
    edited(command, "one")
    assert said_hello(port_of(process))[0] == "one"


def test_a_proto_file_that_changes_starts_it_again_and_its_old_code_is_told_of(command: Command) -> None:
    edited(command, "one")
    (command.folder / "orders_pb2.py").write_text("")
    os.utime(command.folder / "orders_pb2.py", (1, 1))
    process = command.start("run", "edited", "--reload")
    port = port_of(process)
    (command.folder / "orders.proto").write_text('syntax = "proto3";\n')
    assert port_of(process, start=2) == port
    assert "hrpc --reload: orders.proto changed" in process.lines
    times(process, "orders_pb2.py is older than orders.proto: generate it again, hrpc does not", 1)


def test_another_folder_is_watched_when_it_is_named(command: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    edited(command, "one")
    other = tmp_path_factory.mktemp("other")
    process = command.start("run", "edited", "--reload", "--reload-dir", str(other))
    port_of(process)
    (other / "model.py").write_text("x = 1\n")
    port_of(process, start=2)
    times(process, "model.py changed", 1)


def test_a_signal_ends_both_processes(command: Command) -> None:
    edited(command, "one")
    process = command.start("run", "edited", "--reload")
    _, pid = said_hello(port_of(process))
    assert process.end() == 0
    assert not is_running(pid)
    assert any("edited has stopped" in line for line in process.lines)


def test_a_signal_ends_the_waiting_for_a_change(command: Command) -> None:
    command.module("edited", "raise SystemExit(3)\n")
    process = command.start("run", "edited", "--reload")
    times(process, "exit code 3", 1)
    assert process.end() == 3


def test_the_service_ends_when_its_watcher_is_killed(command: Command) -> None:
    edited(command, "one")
    process = command.start("run", "edited", "--reload")
    port_of(process)
    os.kill(process.pid, signal.SIGKILL)
    times(process, "edited has stopped", 1)
    process.wait(LIMIT)  # until the output has ended, and with it whoever could still write to it


def test_a_service_that_is_killed_starts_again_with_a_change(command: Command) -> None:
    edited(command, "one")
    process = command.start("run", "edited", "--reload")
    port = port_of(process)
    os.kill(said_hello(port)[1], signal.SIGKILL)
    times(process, "it has ended with the exit code 137", 1)
    edited(command, "two")
    assert port_of(process, start=2) == port
    assert said_hello(port)[0] == "two"


def test_a_port_of_somebody_else_is_an_error_that_a_change_can_mend(command: Command) -> None:
    edited(command, "one")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        process = command.start("run", "edited", "--reload", "--port", port)
        times(process, f"hrpc: gRPC: 127.0.0.1:{port}", 1)
        times(process, "a change starts it again", 1)
    edited(command, "two")
    assert said_hello(port_of(process))[0] == "two"


def test_the_consul_of_dev_stays_while_services_start_again(command: Command, free_port: int) -> None:
    edited(command, "one")
    process = command.start(str(free_port), "run", "edited", "--dev", "--reload", code=DEV)
    port_of(process)
    agent = agent_of(process)
    [before] = listed(agent, "edited")
    edited(command, "two")
    port_of(process, start=2)
    [after] = listed(agent, "edited")
    assert before["Port"] == after["Port"]
    assert before["ID"] != after["ID"]
    assert sum("fake Consul" in line for line in process.lines) == 1
    assert process.end() == 0


def test_a_folder_to_watch_without_reload_is_a_mistake(command: Command) -> None:
    edited(command, "one")
    done = command("run", "edited", "--reload-dir", ".")
    assert (done.returncode, done.stderr) == (2, "hrpc: --reload-dir is for --reload, which is missing\n")


def test_a_service_with_workers_serves_by_one_process(command: Command) -> None:
    edited(command, "one")
    process = command.start("run", "edited", "--reload", HRPC_WORKERS="2")
    assert said_hello(port_of(process))[0] == "one"
    told = "hrpc --reload: serves by one process; hrpc.with_workers(2) is for without --reload"
    assert told in process.lines
    assert not any("with 2 workers" in line for line in process.lines)
    assert process.end() == 0


def test_only_source_and_proto_files_that_somebody_edits_matter() -> None:
    folder = Path("/srv/venv/app")
    wanted = ["app.py", "deep/down/model.py", "orders.proto", "venv.py"]
    others = ["app.pyc", "notes.txt", ".venv/x.py", "venv/x.py", "a/__pycache__/x.py", "node_modules/x.py", ".#app.py"]
    assert [name for name in (*wanted, *others) if matters(folder / name, [folder])] == wanted
    assert not matters(Path("/srv/other/app.py"), [folder])


def test_changed_files_are_told_in_few_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told([tmp_path / "b.py"]) == "b.py"
    assert told({tmp_path / f"{name}.py" for name in "cab"}) == "a.py and 2 more"


def test_generated_code_that_is_newer_than_its_proto_file_is_not_told_of(tmp_path: Path) -> None:
    proto, code = tmp_path / "orders.proto", tmp_path / "orders_pb2.py"
    proto.touch()
    assert not_generated([proto]) == []
    code.touch()
    os.utime(proto, (1, 1))
    assert not_generated([proto, code]) == []
    os.utime(code, (0, 0))
    [line] = not_generated([proto, code])
    assert line.endswith("orders_pb2.py is older than orders.proto: generate it again, hrpc does not")
