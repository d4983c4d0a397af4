"""Ctrl-C in a terminal reaches all processes of a service at once, and is one stop."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from examples.demo.process import ROOT
from examples.greeter import greeter_pb2, greeter_pb2_grpc

LIMIT = 60.0
CTRL_C = b"\x03"
MODES = pytest.mark.parametrize("mode", [("--reload",), ("--workers", "2"), ()], ids=["reload", "workers", "alone"])

# As a shell does it: the terminal's signals are for the processes of this session.
IN_FRONT = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-W", "error", "-m", "hrpc.cli", *sys.argv[1:]])
"""

SERVICE = f"""
import sys
sys.path.append({str(ROOT)!r})
import asyncio
import hrpc
from examples.greeter import greeter_pb2, greeter_pb2_grpc

class Greeter(greeter_pb2_grpc.GreeterServicer):
    async def SayHello(self, request, context):
        print("held", flush=True)
        await asyncio.sleep(float(request.name))
        return greeter_pb2.HelloReply(message="in time")

server = hrpc.new_server(hrpc.with_server_name("held"), hrpc.with_listen_port(0, "127.0.0.1"))
greeter_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)
"""


class Terminal:
    """A terminal in which ``hrpc run`` serves."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "held.py").write_text(SERVICE)
        self.output = ""
        self._folder = folder
        self._stack = stack

    def run(self, *arguments: str) -> None:
        """Starts it."""
        self._ours, its = pty.openpty()
        self._stack.callback(os.close, self._ours)
        command = [sys.executable, "-c", IN_FRONT, "run", "held", *arguments]
        self._process = subprocess.Popen(
            command, cwd=self._folder, stdin=its, stdout=its, stderr=its, start_new_session=True
        )
        self._stack.callback(self._process.wait)
        self._stack.callback(self._process.kill)
        os.close(its)

    def says(self, pattern: str) -> re.Match[str]:
        """Waits until it shows this."""
        until = time.monotonic() + LIMIT
        while (found := re.search(pattern, self.output)) is None:
            assert self._read(until - time.monotonic()), self.output
        return found

    def press(self, key: bytes) -> None:
        """Presses a key."""
        os.write(self._ours, key)

    def ended(self) -> int:
        """Waits until no process of it has the terminal any more; gives the exit code."""
        while self._read(LIMIT):
            pass
        return self._process.wait(LIMIT)

    def call(self, seconds: float) -> grpc.Future:
        """Begins a call that takes so long."""
        port = self.says(r"held serves on port (\d+)")[1]
        options = [("grpc.enable_http_proxy", 0)]
        channel = self._stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}", options=options))
        request = greeter_pb2.HelloRequest(name=str(seconds))
        return greeter_pb2_grpc.GreeterStub(channel).SayHello.future(request, timeout=LIMIT)

    def _read(self, limit: float) -> bool:
        """Reads what has come, and waits for it; False at the end."""
        assert select.select([self._ours], [], [], max(limit, 0.0))[0], self.output
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # how Linux says that nobody has the terminal any more
            return False
        self.output += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with ExitStack() as stack:
        yield Terminal(tmp_path, stack)


@MODES
def test_ctrl_c_is_one_stop_in_which_running_calls_end(terminal: Terminal, mode: tuple[str, ...]) -> None:
    terminal.run(*mode)
    held = terminal.call(0.5)
    terminal.says("held\r\n")
    terminal.press(CTRL_C)
    assert held.result().message == "in time"
    assert terminal.ended() == 0
    assert "held has stopped" in terminal.output
    assert not re.search(" again|Traceback|takes its place", terminal.output)


@MODES
def test_a_second_ctrl_c_waits_for_nobody(terminal: Terminal, mode: tuple[str, ...]) -> None:
    terminal.run(*mode)
    held = terminal.call(60)
    terminal.says("held\r\n")
    terminal.press(CTRL_C)
    terminal.says("held stops: SIGINT")
    terminal.press(CTRL_C)
    assert terminal.ended() == 0
    assert "SIGINT again, the stop waits no longer" in terminal.output
    assert held.code() is not grpc.StatusCode.OK
    assert "Traceback" not in terminal.output
