"""How soon a service is registered again when its agent has lost everything."""

from __future__ import annotations

import time
from dataclasses import replace

from benchmarks import fleet
from benchmarks.discovery import agent
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from benchmarks.variants import JOINED
from hrpc.testing.servers import ConsulServer, consul_server

LIMIT = 30.0
_LOOK_AGAIN = 0.005

AFTER, LONGEST = "s", "longest, s"
LOST = "killed, wiped and started again"


def returns(plan: Plan) -> Table:
    """Seconds from the return of the agent to the entry in it."""
    with consul_server() as consul:
        joined = replace(JOINED, environ={"CONFIGS_ADDR": consul.address, "HRPC_ADVERTISE": "127.0.0.1"})
        with fleet.running(joined, plan.folder):
            _wait_for_entry(consul.address)
            seconds = [_lost_and_back(consul) for _ in range(plan.returns)]
    figures = {AFTER: Spread.of(seconds), LONGEST: Spread.of([max(seconds)])}
    about = f"From the moment at which the agent has a leader and answers; {plan.returns} times."
    return Table("returns", "Until a service is registered again", about, (Row(LOST, figures),))


def _lost_and_back(consul: ConsulServer) -> float:
    consul.kill()
    consul.wipe()
    consul.start()
    return _wait_for_entry(consul.address)


def _wait_for_entry(address: str) -> float:
    """Seconds until the agent knows the service. Raises `TimeoutError`."""
    began = time.monotonic()
    while not any(entry["Service"] == "echo" for entry in agent.ask(address, "GET", "/v1/agent/services").values()):
        if time.monotonic() - began > LIMIT:
            raise TimeoutError(f"the service is not registered with {address} after {LIMIT:g} s")
        time.sleep(_LOOK_AGAIN)
    return time.monotonic() - began
