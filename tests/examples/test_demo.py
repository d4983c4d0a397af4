"""The demo from its first line to its last; what it starts is gone when it ends, however it ends."""

from __future__ import annotations

import os
import re
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.demo.process import Process
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer

Start = Callable[..., Process]

LIMIT = 240.0
"""Seconds for all of it, on a machine with much else to do."""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes left over in /proc"),
    pytest.mark.timeout(300),
]

WITHOUT = """
import runpy, sys
from contextlib import contextmanager
import hrpc.testing.servers as servers

@contextmanager
def missing(*_, **__):
    raise servers.ServerMissing(sys.argv[1], "image", "program")
    yield

setattr(servers, sys.argv[2], missing)
runpy.run_module("examples.demo", run_name="__main__", alter_sys=True)
"""

BROKEN = """
import runpy
import examples.demo.services as services

class Broken(services.Process):
    def __init__(self, name, arguments, environ, log):
        super().__init__(name, arguments, environ | {"HEALTH_PORT": "x"} if name == "greeter1" else environ, log)

services.Process = Broken
runpy.run_module("examples.demo", run_name="__main__", alter_sys=True)
"""


class Demo:
    """Starts the demo with a mark in its environment, which all that it starts inherits."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._mark = uuid.uuid4().hex

    def __call__(self, *arguments: str, **environ: str) -> Process:
        return self._start(*(arguments or ("-m", "examples.demo")), **environ, DEMO_TEST=self._mark)

    def left_over(self) -> list[str]:
        """The command lines of processes that it started and that run still."""
        environs = Path("/proc").glob("[0-9]*/environ")
        return [_read(path.with_name("cmdline")) for path in environs if self._mark in _read(path)]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def demo(start: Start, consul: ConsulServer, mariadb: MySQLServer, redis_server: RedisServer) -> Demo:
    """The demo on a machine that has all three servers."""
    return Demo(start)


def test_once_shows_the_calls_and_ends_with_code_0(demo: Demo) -> None:
    process = demo(ONCE="1")
    assert process.wait(LIMIT) == 0, process.tail(40)

    text = "\n".join(process.lines)
    for heading in ("Servers", "Services, as Consul lists them", "Probes of orders", "All of it has ended"):
        assert heading in process.lines
    assert len(re.findall(r"^  greeter\d .* 3 calls$", text, re.MULTILINE)) == 2
    assert re.search(
        r"^  orders   order 7 of Margaret is placed\n  greeter\d says hello to Margaret$", text, re.MULTILINE
    )
    assert "server ok, mysql ok, redis ok" in text
    ended = [line.split()[0] for line in process.lines if "ended with code 0" in line]
    assert ended == ["orders", "greeter2", "greeter1"]
    assert demo.left_over() == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Servers", signal.SIGINT),
        ("  Consul", signal.SIGINT),
        ("  MySQL", signal.SIGTERM),
        ("  Redis", signal.SIGHUP),
        ("  orders", signal.SIGINT),
        ("Ctrl-C ends the demo", signal.SIGTERM),
    ],
)
def test_a_signal_at_any_moment_ends_all_of_it_with_code_0(demo: Demo, moment: str, number: signal.Signals) -> None:
    process = demo(ONCE="")
    process.line(lambda line: line.startswith(moment), LIMIT)
    assert demo.left_over()
    os.killpg(process.pid, number)  # as a terminal does

    assert process.wait(LIMIT) == 0, process.tail(40)
    assert process.lines[-1] == "All of it has ended"
    assert demo.left_over() == []


@pytest.mark.parametrize(("name", "function"), [("MySQL", "mysql_server"), ("Redis", "redis_server")])
def test_without_a_database_the_greeters_are_shown_alone(demo: Demo, name: str, function: str) -> None:
    process = demo("-c", WITHOUT, name, function, ONCE="1")
    assert process.wait(LIMIT) == 0, process.tail(40)

    assert any(
        line.startswith(f"  without the orders service: {name} is not on this machine") for line in process.lines
    )
    assert [line.split()[1:] for line in process.lines if "says hello" in line] == [["says", "hello", "to", "Ada"]] * 2
    assert not any(line.startswith("  orders") for line in process.lines)
    assert demo.left_over() == []


def test_without_consul_the_fake_agent_takes_its_place(demo: Demo) -> None:
    process = demo("-c", WITHOUT, "Consul", "consul_server", ONCE="1")
    assert process.wait(LIMIT) == 0, process.tail(40)

    assert any(line.startswith("  Consul") and line.endswith("hrpc's own fake agent") for line in process.lines)
    assert sum("ended with code 0" in line for line in process.lines) == 3
    assert demo.left_over() == []


def test_a_service_that_does_not_start_ends_the_demo_with_its_own_words(demo: Demo) -> None:
    process = demo("-c", BROKEN, ONCE="1")
    assert process.wait(LIMIT) == 1

    assert any("greeter1 has ended:" in line for line in process.lines), process.tail(40)
    assert any("HEALTH_PORT" in line or "invalid literal" in line for line in process.lines)
    assert demo.left_over() == []
