"""Load by h2load, from a core of its own."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks import echo_pb2, machine
from benchmarks.answers import WrongAnswer
from benchmarks.fleet import Instance
from benchmarks.servers.echo import SERVICE

PLAIN = ("content-type: application/grpc", "te: trailers")
OF_A_CALLER = (
    *PLAIN,
    "grpc-timeout: 5S",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    'hrpc_md_message: {"server_name":"orders","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",'
    '"request_timeout":5000000000,"namespace":"Dev","client_info":{"ip":"10.0.0.7","ua":"orders/1.4"}}',
)
"""What another service of the same kind sends along."""

_ATTEMPTS = 3
_END_LIMIT, _LONG_LIMIT = 20.0, 1800.0
"""Seconds for a load that is limited by time, and for one that is limited by calls."""

_RATE = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
_NOTHING = " 0 done, 0 succeeded, 0 failed, 0 errored"
"""The machine had no time at all for the server, or its answers took longer than the load."""
_COUNTS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_DATA = re.compile(r"\((\d+)\) data")


@dataclass(frozen=True)
class Load:
    """What is asked of a server, and in how many connections and streams at once."""

    connections: int = 4
    streams: int = 16
    payload: int = 100
    repeated: int = 0
    """How many messages a server stream has; 0 asks for one answer."""
    headers: tuple[str, ...] = PLAIN
    method: str = "Say"

    @property
    def path(self) -> str:
        """The method's."""
        return f"/{SERVICE}/{'Repeat' if self.repeated else self.method}"

    def message(self) -> bytes:
        """The request, behind the five bytes that gRPC sets before a message."""
        body = b"x" * self.payload
        request = echo_pb2.Repetition(body=body, times=self.repeated) if self.repeated else echo_pb2.Message(body=body)
        encoded = request.SerializeToString()
        return b"\0" + len(encoded).to_bytes(4, "big") + encoded


@dataclass(frozen=True)
class Answered:
    """What a server did under a load."""

    rate: float
    """Calls in a second."""
    cpu: float
    """Microseconds of the server's processor time for a call."""
    calls: int


def put(instance: Instance, load: Load, folder: Path, *, seconds: float = 0, calls: int = 0) -> Answered:
    """Loads a server for so many seconds, or with so many calls. Raises `WrongAnswer` when any answer is missing."""
    request = folder / "request.bin"
    request.write_bytes(load.message())
    command = ["h2load", "-t", "1", "-c", str(load.connections), "-m", str(load.streams), "-d", str(request)]
    # Windows of 1 GB: the load generator is never what a large answer waits for.
    command += ["-w", "30", "-W", "30", *(["-n", str(calls)] if calls else ["-D", f"{seconds * 1000:.0f}ms"])]
    for header in load.headers:
        command += ["-H", header]
    command.append(f"http://127.0.0.1:{instance.port}{load.path}")
    for _ in range(_ATTEMPTS):
        before = instance.cpu_seconds()
        output = _output(
            machine.pinned(None if instance.variant.spread else machine.LOAD_CORE, *command),
            _END_LIMIT if seconds else _LONG_LIMIT,
        )
        cpu = instance.cpu_seconds() - before
        if output is not None and _NOTHING not in output:
            rate, succeeded = _read(output, instance.variant.name, load)
            return Answered(rate, cpu / succeeded * 1e6, succeeded)
    raise WrongAnswer(f"{instance.variant.name}: no end of the load, or no answer, in {_ATTEMPTS} attempts")


def _output(command: list[str], limit: float) -> str | None:
    """What h2load says; None when it missed its own end, as it does now and then with many connections."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout + done.stderr


def _read(output: str, name: str, load: Load) -> tuple[float, int]:
    rate, counts, data = _RATE.search(output), _COUNTS.search(output), _DATA.search(output)
    if rate is None or counts is None or data is None:
        raise WrongAnswer(f"{name}: h2load said\n{output}")
    succeeded, *bad = map(int, counts.groups())
    # A refusal has the status 200 as well, but no message.
    expected = succeeded * (load.payload + 5) * max(load.repeated, 1)
    if any(bad) or not succeeded or int(data.group(1)) < expected:
        raise WrongAnswer(f"{name}: not all answers are there\n{output}")
    return float(rate.group(1)), succeeded
