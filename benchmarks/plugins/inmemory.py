"""What it costs to read and write hrpc-inmemory.

``python -m benchmarks.plugins.inmemory figures.json`` measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from benchmarks import program
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from hrpc_inmemory import Map

ROUNDS = 7
ENTRIES = 10_000
MICROS = "µs"
DICT = "`dict.get`, for comparison"
GET = "`get`, a hit"
MISS = "`get`, a miss"
LOADED = "`await get_or_load`, a hit"
SET = "`set`, of a map that is full"


def inmemory(plan: Plan) -> Table:
    """Microseconds of an operation."""
    found = program.figures("plugins.inmemory", plan, "--calls", plan.loops)
    rows = tuple(Row(name, {MICROS: Spread.of(found[name])}) for name in (DICT, GET, MISS, LOADED, SET))
    about = (
        f"A map of {ENTRIES:,} entries that have a life and a size limit; one key after the other, in a loop, of which "
        "the time is that of one thread. A set takes the entry out that was not used for longest."
    )
    return Table("inmemory", "hrpc-inmemory", about, rows)


async def measured(calls: int) -> dict[str, list[float]]:
    """Microseconds of each round."""
    users: Map[int, int] = Map("users", max_life=3600, max_size=ENTRIES)
    for key in range(ENTRIES):
        users.set(key, key)
    plain = {key: key for key in range(ENTRIES)}
    loops: dict[str, Callable[[range], None]] = {
        DICT: lambda keys: _each(plain.get, keys),
        GET: lambda keys: _each(users.get, keys),
        MISS: lambda keys: _each(users.get, range(ENTRIES, 2 * ENTRIES)),
    }
    keys = range(ENTRIES)
    found = {name: [_micros(loop, keys, calls) for _ in range(ROUNDS)] for name, loop in loops.items()}
    found[LOADED] = [await _loads(users, keys, calls) for _ in range(ROUNDS)]
    fresh = iter(range(ENTRIES, 10**9, ENTRIES))
    found[SET] = [_micros(lambda _: _sets(users, next(fresh)), keys, calls) for _ in range(ROUNDS)]
    return found


def _each(get: Callable[[int], object], keys: range) -> None:
    for key in keys:
        get(key)


def _sets(users: Map[int, int], first: int) -> None:
    for key in range(first, first + ENTRIES):
        users.set(key, key)


def _micros(loop: Callable[[range], None], keys: range, calls: int) -> float:
    rounds = max(1, calls // len(keys))
    began = time.thread_time()
    for _ in range(rounds):
        loop(keys)
    return (time.thread_time() - began) / (rounds * len(keys)) * 1e6


async def _loads(users: Map[int, int], keys: range, calls: int) -> float:
    rounds = max(1, calls // len(keys))
    began = time.thread_time()
    for _ in range(rounds):
        for key in keys:
            await users.get_or_load(key, _never)
    return (time.thread_time() - began) / (rounds * len(keys)) * 1e6


async def _never(key: int) -> int:
    raise AssertionError(f"{key} is there")


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--calls", type=int, default=Plan.loops)
    given = parser.parse_args()
    program.write(given.output, asyncio.run(measured(given.calls)))
