"""``hrpc probe``: the exit code says how a running service is, and one line says why."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.probing import probe, started


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
