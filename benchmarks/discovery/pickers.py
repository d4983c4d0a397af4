"""What it takes to choose an endpoint for a call.

``python -m benchmarks.discovery.pickers figures.json`` measures.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import grpc

from benchmarks import program
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from hrpc import BalancerSettings
from hrpc.abc import Instance
from hrpc.service.balancing import Balancer, Endpoint

ROUNDS = 7
SIZES = (3, 1000)
PICKERS: Mapping[str, tuple[BalancerSettings, int]] = {
    "weighted round robin, equal weights": (BalancerSettings(), 1),
    "weighted round robin, 7 different weights": (BalancerSettings(), 7),
    "p2c, equal weights": (BalancerSettings("p2c"), 1),
    "p2c, 7 different weights": (BalancerSettings("p2c"), 7),
    "consistent hash": (BalancerSettings("consistent_hash", hash_key="user-id"), 1),
}
"""The settings, and how many weights there are."""
CHANGE = "a change of the list, ms"


def pick_of(size: int) -> str:
    """The name of the column of picks."""
    return f"a pick of {size:,}, µs"


def pickers(plan: Plan) -> Table:
    """Microseconds of a pick."""
    found = program.figures("discovery.pickers", plan, "--calls", plan.loops)
    rows = tuple(Row(name, {column: Spread.of(micros) for column, micros in found[name].items()}) for name in PICKERS)
    about = (
        "Of 3 and of 1,000 endpoints, in a loop; every endpoint is asked whether it is connected. What a call costs "
        "beside its pick: its beginning and its end are counted. The change takes one of 1,000 out."
    )
    return Table("pickers", "Pickers", about, rows)


def measured(calls: int) -> dict[str, dict[str, list[float]]]:
    """By picker and column, the microseconds of each round."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, (settings, weights) in PICKERS.items():
        found[name] = {}
        for size in SIZES:
            balancer = Balancer(settings, usable=_usable)
            _replace(balancer, size, weights)
            for each in balancer.endpoints:
                _call(balancer, each)
            found[name][pick_of(size)] = [_picks(balancer, calls) for _ in range(ROUNDS)]
        found[name]["began and ended, µs"] = [_counts(balancer, calls) for _ in range(ROUNDS)]
        found[name][CHANGE] = [_change(balancer, SIZES[-1] - number % 2, weights) for number in range(1, ROUNDS + 1)]
    return found


def _usable(_: Endpoint) -> bool:
    return True


def _replace(balancer: Balancer, size: int, weights: int) -> None:
    balancer.replace(
        (number, Instance(str(number), "many", f"10.0.{number >> 8}.{number & 255}", 80, 1 + number % weights), object)
        for number in range(size)
    )


def _call(balancer: Balancer, endpoint: Endpoint) -> None:
    balancer.began(endpoint)
    balancer.ended(endpoint, grpc.StatusCode.OK, 0.001)


def _picks(balancer: Balancer, calls: int) -> float:
    keys = [f"user-{number % 10_000}" for number in range(calls)]
    began = time.thread_time()
    for key in keys:
        balancer.pick(key)
    return (time.thread_time() - began) / calls * 1e6


def _counts(balancer: Balancer, calls: int) -> float:
    endpoint = next(iter(balancer.endpoints))
    began = time.thread_time()
    for _ in range(calls):
        _call(balancer, endpoint)
    return (time.thread_time() - began) / calls * 1e6


def _change(balancer: Balancer, size: int, weights: int) -> float:
    began = time.thread_time()
    _replace(balancer, size, weights)
    return (time.thread_time() - began) * 1e3


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--calls", type=int, default=Plan.loops)
    given = parser.parse_args()
    program.write(given.output, measured(given.calls))
