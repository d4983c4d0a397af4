"""How long imports take, and how long it is until a server gives its first answer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks import fleet, machine
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread, interleaved, ratios
from benchmarks.variants import BARE, FULL, FULL_NATIVE, NONE
from hrpc.testing import DevConsul

IMPORTS = ("grpc.aio", "hrpc", "aiohttp", "prometheus_client", "loguru")
_NOTHING = "nothing"


def imports(plan: Plan) -> Table:
    """Milliseconds of an import, beyond those of an interpreter that imports nothing."""
    seconds = interleaved([_NOTHING, *IMPORTS], plan.starts, _import)
    rows = tuple(Row(name, {"ms": _beyond(seconds[name], seconds[_NOTHING])}) for name in IMPORTS)
    return Table("imports", "Imports", "Milliseconds beyond the start of the interpreter.", rows)


def starts(plan: Plan) -> Table:
    """From the start of the process to the first right answer."""
    with DevConsul.in_thread() as consul:
        registered = replace(
            FULL,
            name=f"{FULL.name}, with health and Consul",
            arguments=(*FULL.arguments, "--health"),
            environ={"CONFIGS_ADDR": consul.address, "HRPC_ADVERTISE": "127.0.0.1"},
        )
        variants = {variant.name: variant for variant in (BARE, NONE, FULL, FULL_NATIVE, registered)}

        def measure(name: str) -> float:
            began = time.perf_counter()
            with fleet.running(variants[name], plan.folder):
                return time.perf_counter() - began

        seconds = interleaved(list(variants), plan.starts, measure)
    return Table(
        "starts",
        "From start to the first answer",
        "Of the whole process, compared with the bare server.",
        _rows(ratios(seconds, BARE.name)),
    )


def _beyond(seconds: Sequence[float], of: Sequence[float]) -> Spread:
    return Spread.of([(own - nothing) * 1000 for own, nothing in zip(seconds, of, strict=True)])


def _rows(figures: Mapping[str, Spread]) -> tuple[Row, ...]:
    return tuple(Row(name, {"time": figure}) for name, figure in figures.items())


def _import(module: str) -> float:
    code = "pass" if module == _NOTHING else f"import {module}"
    began = time.perf_counter()
    subprocess.run(machine.pinned(machine.SERVER_CORE, sys.executable, "-c", code), cwd=fleet.ROOT, check=True)
    return time.perf_counter() - began
