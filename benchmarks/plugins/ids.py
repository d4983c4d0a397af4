"""How many unique ids are made in a second, and whether any comes twice.

``python -m benchmarks.plugins.ids figures.json`` measures.
"""

from __future__ import annotations

import asyncio
import heapq
import subprocess
import sys
import time
import urllib.request
from array import array
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import hrpc
import hrpc_uniqueid
from benchmarks import program
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from hrpc import uniqueid
from hrpc.testing.servers import consul_server

ROUNDS = 7
PROCESSES = 8
BATCH = 1000
RATE = "millions a second"
TWICE = "ids that came twice"
ONE = "`uniqueid.next_id()`, on lease"
MANY = f"`uniqueid.next_ids({BATCH:,})`, on lease"
ALL = f"{PROCESSES} processes at once, each with a lease"


def ids(plan: Plan) -> Table:
    """Ids made in a second, and those that came twice."""
    found = program.figures("plugins.ids", plan, "--ids", 10 * plan.loops)
    rows = (
        *(Row(name, {RATE: Spread.of(found[name])}) for name in (ONE, MANY)),
        Row(ALL, {TWICE: Spread.of(found[ALL])}),
    )
    about = (
        f"{10 * plan.loops:,} ids in a loop, in one thread of a service that has leased its node id in Consul, by the "
        f"time that passes: a node can make 4.1 million a second. Then {PROCESSES} services on one core make as many "
        "each, and all ids are compared."
    )
    return Table("ids", "hrpc-uniqueid", about, rows)


def measured(count: int, processes: int = PROCESSES) -> dict[str, list[float]]:
    """The figures of each round."""
    with consul_server() as consul, TemporaryDirectory() as folder:
        _mark(consul.address)
        rates = _server(consul.address).run(_rates, count)
        return {**rates, ALL: [float(_twice(consul.address, Path(folder), count, processes))]}


def _mark(consul: str) -> None:
    """Says that node ids were leased before: a first start waits."""
    mark = urllib.request.Request(f"http://{consul}/v1/kv/development/uniqueid/since", b"2026", method="PUT")
    urllib.request.urlopen(mark, timeout=10).close()


def _server(consul: str) -> hrpc.Server:
    return hrpc.new_server(
        hrpc.with_server_name("ids"),
        hrpc.with_consul(hrpc.Consul(address=consul)),
        hrpc_uniqueid.with_leased_node_id(ttl=60),
    )


async def _rates(count: int) -> dict[str, list[float]]:
    loops: dict[str, Callable[[int], None]] = {ONE: _one_by_one, MANY: _in_batches}
    found: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            began = time.perf_counter()
            loop(count)
            found[name].append(count / (time.perf_counter() - began) / 1e6)
    return found


def _one_by_one(count: int) -> None:
    for _ in range(count):
        uniqueid.next_id()


def _in_batches(count: int) -> None:
    for _ in range(count // BATCH):
        uniqueid.next_ids(BATCH)


def _twice(consul: str, folder: Path, count: int, processes: int) -> int:
    files = [folder / f"{number}.ids" for number in range(processes)]
    command = [sys.executable, "-m", "benchmarks.plugins.ids", "--ids", str(count), "--consul", consul]
    making = [subprocess.Popen([*command, str(file)], stdin=subprocess.PIPE, stderr=subprocess.PIPE) for file in files]
    try:
        for process in making:
            assert process.stderr is not None
            assert process.stderr.readline() == b"ready\n"
        for process in making:
            _go(process)
        if any(process.wait() for process in making):
            raise ChildProcessError("a process that makes ids has failed")
    finally:
        for process in making:
            process.kill()
            process.communicate()
    return sum(one == other for one, other in pairwise(heapq.merge(*map(_read, files))))


def _go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def _read(file: Path) -> Iterable[int]:
    found = array("Q")
    found.frombytes(file.read_bytes())
    return found


async def _make(file: Path, count: int) -> None:
    sys.stderr.write("ready\n")
    sys.stderr.flush()
    await asyncio.to_thread(_make_when_told, file, count)


def _make_when_told(file: Path, count: int) -> None:
    sys.stdin.readline()
    made = array("Q", (uniqueid.next_id() for _ in range(count)))
    file.write_bytes(made.tobytes())


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--ids", type=int, default=10 * Plan.loops)
    parser.add_argument("--consul")
    given = parser.parse_args()
    if given.consul:
        _server(given.consul).run(_make, given.output, given.ids)
    else:
        program.write(given.output, measured(given.ids))
