"""How long a start takes beyond its imports, how long a stop takes, and how long the process then takes to be gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from benchmarks import fleet, machine
from benchmarks.discovery import agent
from benchmarks.life import service
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread, interleaved
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer, consul_server, mysql_server, redis_server

IMPORTS, START, STOP, GONE = "imports, ms", "start, ms", "stop, ms", "until the process is gone, ms"
PLAIN, FULL = "gRPC alone", "with Consul, MySQL, Redis, health and metrics"
_KINDS = {PLAIN: "plain", FULL: "full"}
_READY, _STOPPED = "serves on port", "has stopped in"


def lives(plan: Plan) -> Table:
    """Milliseconds of each part of a life in which nothing is called."""
    with consul_server() as consul, mysql_server() as mysql, redis_server() as redis:
        settle(consul, mysql, redis)
        found = interleaved(list(_KINDS), plan.starts, lambda name: live(_KINDS[name], consul.address))
    rows = tuple(
        Row(name, {column: Spread.of([one[column] for one in of]) for column in (IMPORTS, START, STOP, GONE)})
        for name, of in found.items()
    )
    about = (
        "From the start of the process until everything is imported; from there until it is ready for calls; from "
        "SIGTERM until everything is released, without the `drain_delay`, in which a stop waits on purpose; and from "
        "SIGTERM until the process is gone, of which most is Python taking its modules apart."
    )
    return Table("lives", "Start and stop", about, rows)


def settle(consul: ConsulServer, mysql: MySQLServer, redis: RedisServer) -> None:
    """Puts the settings of the databases where the service reads them."""
    for name, settings in {"mysql": mysql.settings, "redis": redis.settings}.items():
        agent.ask(consul.address, "PUT", f"/v1/kv/development/databases/{name}", settings)


def live(kind: str, consul: str) -> dict[str, float]:
    """One life of a service; milliseconds by column. Raises ChildProcessError when it ends before its time."""
    began = time.perf_counter()
    with running(kind, consul) as process:
        assert process.stdout is not None
        imported = _says(process.stdout, service.IMPORTED)
        ready = _says(process.stdout, _READY)
        process.send_signal(signal.SIGTERM)
        signalled = time.perf_counter()
        stopped = _says(process.stdout, _STOPPED)
        process.wait()
        gone = time.perf_counter()
    seconds = {IMPORTS: imported - began, START: ready - imported, STOP: stopped - signalled, GONE: gone - signalled}
    return {column: of * 1000 for column, of in seconds.items()}


@contextmanager
def running(kind: str, consul: str, environ: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A service in a process of its own, whose log can be read."""
    command = machine.pinned(machine.SERVER_CORE, sys.executable, "-u", "-m", "benchmarks.life.service", "--kind", kind)
    given = {"CONFIGS_ADDR": consul, "HRPC_ADVERTISE": "127.0.0.1"} if kind == "full" else {}
    env = fleet.environ() | given | dict(environ or {})
    process = subprocess.Popen(
        command, cwd=fleet.ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ready(process: subprocess.Popen[str]) -> None:
    """Waits until it serves."""
    assert process.stdout is not None
    _says(process.stdout, _READY)


def _says(output: IO[str], words: str) -> float:
    """When it has printed this."""
    lines: list[str] = []
    for line in output:
        if words in line:
            return time.perf_counter()
        lines.append(line)
    raise ChildProcessError(f"it has ended without printing {json.dumps(words)}:\n{''.join(lines)}")
