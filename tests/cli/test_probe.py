"""``hrpc probe``: the exit code says how a running service is, and one line says why."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from examples.demo.process import Process
from tests.authority import Authority
from tests.cli.conftest import Command

SERVICE = """
import asyncio, pathlib, time
import hrpc
from hrpc import health

async def hang():
    if pathlib.Path("hang").exists():
        await asyncio.Event().wait()

def block():
    async def block():
        print("blocks", flush=True)
        time.sleep(3600)
    if pathlib.Path("block").exists():
        hrpc.go(block())

health.check("index", lambda: not pathlib.Path("broken").exists())
health.check("peer", hang, timeout=30)
health.check("blocking", block, kind="startup")
server = hrpc.new_server(
    hrpc.with_server_name("{name}"), hrpc.with_listen_port(0, "127.0.0.1"), hrpc.with_health_check(0),
    hrpc.with_debug("0123456789abcdef"),
)
"""

JOB = """
import asyncio, os, pathlib, time
import hrpc

async def compute():
    beat = pathlib.Path(os.environ["HRPC_RUN_DIR"]) / f"nightly-{os.getpid()}.heartbeat"
    while not beat.exists() or not beat.read_text():
        await asyncio.sleep(0.01)
    print("beats", flush=True)
    while not pathlib.Path("enough").exists():
        time.sleep(0.01)
    print("answers", flush=True)
    await asyncio.Event().wait()

hrpc.new_server(hrpc.with_server_name("nightly")).run(compute)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> str:
    """A folder of this test's own, so that no other service is found."""
    return str(tmp_path / "run")


def probe(command: Command, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs it; where the test names no limit, with one that a busy machine keeps."""
    return command("probe", "--timeout", "20", *arguments, **environ)


def started(command: Command, run_dir: str, name: str = "orders") -> Process:
    command.module(name, SERVICE.format(name=name))
    service = command.start("run", name, HRPC_RUN_DIR=run_dir)
    serving_line(service)
    return service


def serving_line(service: Process) -> str:
    return service.line(lambda line: "serves on port" in line, timeout=60)


def health_address(service: Process) -> str:
    found = re.search(r"health on (\d+)", serving_line(service))
    assert found is not None
    return f"127.0.0.1:{found[1]}"


def test_each_kind_is_0_and_one_line_when_all_is_well(command: Command, run_dir: str) -> None:
    service = started(command, run_dir)
    for kind in ("startup", "liveness", "readiness"):
        ran = probe(command, kind, HRPC_RUN_DIR=run_dir)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{kind} of orders (pid {service.pid}): ok\n", "")


def test_what_is_wrong_is_1_and_one_line_that_names_it(command: Command, run_dir: str) -> None:
    service = started(command, run_dir)
    (command.folder / "broken").touch()
    ran = probe(command, "readiness", HRPC_RUN_DIR=run_dir)
    told = f"readiness of orders (pid {service.pid}): index: it says no\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", told)
    assert probe(command, "liveness", HRPC_RUN_DIR=run_dir).returncode == 0


def test_a_checker_that_hangs_is_named_within_the_limit(command: Command, run_dir: str) -> None:
    service = started(command, run_dir)
    (command.folder / "hang").touch()
    # A tenth of it is for the way, on which a busy machine may hold up the answer.
    ran = probe(command, "readiness", "--timeout", "3", HRPC_RUN_DIR=run_dir)
    assert ran.stderr == f"readiness of orders (pid {service.pid}): peer: no answer within 2.7 s\n"
    assert ran.returncode == 1


def test_a_server_whose_event_loop_is_blocked_is_not_alive(command: Command, run_dir: str) -> None:
    service = started(command, run_dir)
    (command.folder / "block").touch()
    command.start("probe", "startup", "--timeout", "20", HRPC_RUN_DIR=run_dir)
    service.line(lambda line: line == "blocks")
    ran = probe(command, "liveness", "--timeout", "0.5", HRPC_RUN_DIR=run_dir)
    told = f"liveness: orders (pid {service.pid}) gave no answer within 0.5 s\n"
    assert (ran.returncode, ran.stderr) == (1, told)
    os.kill(service.pid, signal.SIGKILL)


def test_health_status_turns_the_switch_instead(command: Command, run_dir: str) -> None:
    service = started(command, run_dir)
    closed = probe(command, "readiness", HRPC_RUN_DIR=run_dir, HEALTH_STATUS="close")
    reason = "by HEALTH_STATUS=close"
    who = f"readiness of orders (pid {service.pid})"
    assert (closed.returncode, closed.stdout) == (0, f"{who}: closed: {reason}\n")
    assert probe(command, "readiness", HRPC_RUN_DIR=run_dir).stderr == f"{who}: switch: closed: {reason}\n"
    assert probe(command, "liveness", HRPC_RUN_DIR=run_dir).returncode == 0
    assert probe(command, "readiness", HRPC_RUN_DIR=run_dir, HEALTH_STATUS="open").stdout == f"{who}: open\n"
    assert probe(command, "readiness", HRPC_RUN_DIR=run_dir).returncode == 0
    wrong = probe(command, "readiness", HRPC_RUN_DIR=run_dir, HEALTH_STATUS="shut")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "hrpc: HEALTH_STATUS=shut: takes open or close, or leave it out to probe. See hrpc probe --help\n",
    )


def test_of_several_services_one_is_chosen(command: Command, run_dir: str) -> None:
    orders, users = started(command, run_dir), started(command, run_dir, "users")
    unsure = probe(command, "liveness", HRPC_RUN_DIR=run_dir)
    assert (unsure.returncode, unsure.stderr) == (
        1,
        f"liveness: 2 services run here, orders (pid {orders.pid}), users (pid {users.pid}): choose one with --name "
        "or --pid\n",
    )
    for choice, service in (("--name=users", users), (f"--pid={orders.pid}", orders)):
        ran = probe(command, "liveness", choice, HRPC_RUN_DIR=run_dir)
        assert (ran.returncode, f"(pid {service.pid})" in ran.stdout) == (0, True)


def test_a_service_that_was_killed_is_not_there(command: Command, run_dir: str) -> None:
    service = started(command, run_dir)
    os.kill(service.pid, signal.SIGKILL)
    service.wait(10)
    assert list(Path(run_dir).iterdir())
    ran = probe(command, "liveness", HRPC_RUN_DIR=run_dir)
    assert ran.returncode == 1
    assert ran.stderr.startswith("liveness: no service runs here: it has ended, or runs as another user")


def test_a_folder_that_is_not_private_is_not_trusted(command: Command, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with socket.socket(socket.AF_UNIX) as liar:
        liar.bind(str(shared / f"orders-{os.getpid()}.sock"))
        liar.listen()
        ran = probe(command, "liveness", HRPC_RUN_DIR=str(shared))
    assert (ran.returncode, "others may enter it (mode 777): chmod 700 it" in ran.stderr) == (1, True)


def job(command: Command, run_dir: str) -> Process:
    """A job that keeps its event loop from answering, for as long as there is no file that says otherwise."""
    command.module("nightly", JOB)
    process = command.start(code="import nightly", HRPC_RUN_DIR=run_dir)
    process.line(lambda line: "beats" in line, timeout=60)
    return process


def test_a_job_that_computes_is_alive_while_its_heartbeat_is_young(command: Command, run_dir: str) -> None:
    process = job(command, run_dir)
    well = probe(command, "liveness", "--timeout", "0.2", HRPC_RUN_DIR=run_dir)
    told = f"liveness of nightly (pid {process.pid}): its heartbeat is younger than 15 s\n"
    assert (well.returncode, well.stdout) == (0, told)
    beat = Path(run_dir) / f"nightly-{process.pid}.heartbeat"
    assert probe(command, "liveness", "--heartbeat", str(beat)).returncode == 0
    beat.write_text(f"{int(time.time()) - 16}\n")
    late = probe(command, "liveness", "--timeout", "0.2", HRPC_RUN_DIR=run_dir)
    told = f"liveness: nightly (pid {process.pid}) gave no answer within 0.2 s\n"
    assert (late.returncode, late.stderr) == (1, told)
    of_file = probe(command, "liveness", "--heartbeat", str(beat))
    assert (of_file.returncode, of_file.stderr) == (1, f"liveness of {beat}: no heartbeat there within the last 15 s\n")
    assert probe(command, "readiness", "--timeout", "0.2", HRPC_RUN_DIR=run_dir).returncode == 1
    (command.folder / "enough").touch()
    process.line(lambda line: "answers" in line)
    answers = probe(command, "liveness", "--timeout", "20", HRPC_RUN_DIR=run_dir)
    assert (answers.returncode, answers.stdout) == (0, f"liveness of nightly (pid {process.pid}): ok\n")


def test_a_job_that_was_killed_is_not_alive_though_its_heartbeat_is_young(command: Command, run_dir: str) -> None:
    process = job(command, run_dir)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert (Path(run_dir) / f"nightly-{process.pid}.heartbeat").exists()
    ran = probe(command, "liveness", HRPC_RUN_DIR=run_dir)
    assert (ran.returncode, ran.stderr[:36]) == (1, "liveness: no service runs here: it h")


def test_a_job_beside_a_service_does_not_answer_for_it(command: Command, run_dir: str) -> None:
    process, service = job(command, run_dir), started(command, run_dir)
    ran = probe(command, "liveness", HRPC_RUN_DIR=run_dir)
    told = (
        f"2 services run here, nightly (pid {process.pid}), orders (pid {service.pid}): choose one with --name or --pid"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"liveness: {told}\n")
    (command.folder / "enough").touch()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("relative", "HRPC_RUN_DIR=relative: takes an absolute path, or none"),
        ("none", "HRPC_RUN_DIR=none says that none is to be reached so"),
    ],
)
def test_a_folder_where_nobody_can_be_is_1_and_one_line(command: Command, named: str, says: str) -> None:
    ran = probe(command, "liveness", HRPC_RUN_DIR=named)
    assert (ran.returncode, ran.stderr) == (1, f"liveness: no service can be found: {says}\n")


def test_by_address_the_health_port_is_asked(command: Command, run_dir: str) -> None:
    address = health_address(started(command, run_dir))
    for given in (address, f"http://{address}", f"http://{address}/"):
        ran = probe(command, "liveness", "--address", given, HRPC_RUN_DIR="none")
        assert (ran.returncode, ran.stderr) == (0, "")
    (command.folder / "broken").touch()
    ran = probe(command, "readiness", "--address", address)
    assert (ran.returncode, ran.stderr) == (1, f"readiness of http://{address}: index: it says no\n")


def test_by_address_the_switch_is_turned(command: Command, run_dir: str) -> None:
    address = health_address(started(command, run_dir))
    wrong = probe(command, "readiness", "--address", address, HEALTH_STATUS="close", HRPC_DEBUG_TOKEN="x" * 16)
    assert (wrong.returncode, "this is not the token" in wrong.stderr) == (1, True)
    token = "0123456789abcdef"
    ran = probe(command, "readiness", "--address", address, HEALTH_STATUS="close", HRPC_DEBUG_TOKEN=token)
    assert (ran.returncode, ran.stdout) == (0, f"readiness of http://{address}: close\n")
    assert probe(command, "readiness", "--address", address).returncode == 1


def test_https_is_trusted_by_the_certificates_that_are_named(command: Command, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.write(tmp_path / "tls", "localhost"))
    with answering(b'{"msg": "success"}') as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        address = f"https://127.0.0.1:{server.server_port}"
        assert probe(command, "liveness", "--address", address, "--ca", str(authority.path)).returncode == 0
        refused = probe(command, "liveness", "--address", address)
        assert (refused.returncode, "certificate verify failed" in refused.stderr) == (1, True)
        missing = probe(command, "liveness", "--address", address, "--ca", str(tmp_path / "none.pem"))
        told = f"liveness: --ca {tmp_path / 'none.pem'} cannot be read: No such file or directory\n"
        assert (missing.returncode, missing.stderr) == (1, told)


def test_what_is_no_health_port_says_so(command: Command, free_port: int) -> None:
    with answering(b"hello") as server:
        ran = probe(command, "liveness", "--address", f"127.0.0.1:{server.server_port}")
        assert (ran.returncode, "answered 200, but not as a health port does" in ran.stderr) == (1, True)
    with answering(b"", version="\0\1") as server:
        ran = probe(command, "liveness", "--address", f"127.0.0.1:{server.server_port}")
        told = f"liveness: http://127.0.0.1:{server.server_port} answers, but not with HTTP: is it the right port?\n"
        assert (ran.returncode, ran.stderr) == (1, told)
    ran = probe(command, "liveness", "--address", f"127.0.0.1:{free_port}")
    assert ran.stderr == f"liveness: http://127.0.0.1:{free_port} does not answer: Connection refused\n"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        ran = probe(command, "liveness", "--address", address, "--timeout", "0.1")
        assert (ran.returncode, ran.stderr) == (1, f"liveness: http://{address} gave no answer within 0.1 s\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lunch"], "invalid choice: 'lunch'"),
        ([], "required: kind"),
        (["liveness", "--timeout", "0"], "'0' is no time: seconds, more than 0"),
        (["liveness", "--timeout", "nan"], "'nan' is no time"),
        (["liveness", "--pid", "x"], "invalid int value"),
        (["liveness", "--address", "ftp://a:1"], "'ftp://a:1' is no address: http://host:port"),
        (["readiness", "--heartbeat", "a"], "--heartbeat says nothing but liveness"),
        (["liveness", "--address", "a:99999"], "'a:99999' is no address"),
        (["liveness", "--address", "a:1", "--name", "b"], "each say whom to ask: give one of them"),
        (["liveness", "--heartbeat", "a", "--pid", "1"], "each say whom to ask: give one of them"),
        (["liveness", "--address", "a:1", "--ca", "b"], "--ca is for an --address with https"),
        (["liveness", "--ca", "b"], "--ca is for an --address with https"),
    ],
)
def test_a_wrong_use_is_one_line_and_2(command: Command, arguments: list[str], says: str) -> None:
    ran = probe(command, *arguments)
    assert (ran.returncode, says in ran.stderr, ran.stderr.count("\n")) == (2, True, 1)


def test_it_is_listed_with_the_other_commands(command: Command) -> None:
    assert re.search(r"probe +Asks a running service how it is", command("--help").stdout)
    assert "usage: hrpc probe" in probe(command, "--help").stdout


HEAVY = {"asyncio", "hrpc.errors", "hrpc.option", "hrpc.server", "shutil", "subprocess"}


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        (["probe", "liveness"], {"urllib.parse", "http.client", "dataclasses", "inspect"}),
        (["probe", "liveness", "--address", "http://127.0.0.1:1"], set()),
        (["drain"], {"urllib.parse", "http.client", "dataclasses", "inspect"}),
    ],
)
def test_it_imports_neither_grpc_nor_anything_else_that_takes_long(
    arguments: list[str], spared: set[str], run_dir: str
) -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {os.getcwd()!r})\n"
        "import hrpc.cli\n"
        "try: hrpc.cli.main()\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    # Without any package that is installed, some of which import modules whenever Python starts.
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *arguments],
        env={**os.environ, "HRPC_RUN_DIR": run_dir},
        check=True,
        capture_output=True,
        text=True,
    )
    ended, *loaded = ran.stdout.split()
    assert (ended, "runs here" in ran.stderr or "does not answer" in ran.stderr) == ("1", True)
    assert not (HEAVY | spared) & set(loaded)


@contextmanager
def answering(body: bytes, version: str = "HTTP/1.0") -> Iterator[HTTPServer]:
    """An HTTP server that gives this body to everybody."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = version

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
