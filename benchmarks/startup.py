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
from benchmarks.variants import BARE, DEFAULT, FULL, FULL_NATIVE, JOINED
from hrpc.testing import DevConsul

IMPORTS = ("grpc.aio", "hrpc", "aiohttp", "prometheus_client", "loguru")
_NOTHING = "nothing"


def imports(plan: Plan) -> Table:
    """Milliseconds of an import, beyond those of an interpreter that imports nothing."""
    seconds = interleaved([_NOTHING, *IMPORTS], plan.starts, _import)
    rows = {name: {"ms": _beyond(seconds[name], seconds[_NOTHING])} for name in IMPORTS}
    rows["hrpc"]["beyond grpc.aio"] = _beyond(seconds["hrpc"], seconds["grpc.aio"])
    return Table("imports", "Imports", "Milliseconds beyond the start of the interpreter.", _rows(rows))


def starts(plan: Plan) -> Table:
    """From the start of the process to the first right answer."""
    with DevConsul.in_thread() as consul:
        joined = replace(JOINED, environ={"CONFIGS_ADDR": consul.address, "HRPC_ADVERTISE": "127.0.0.1"})
        variants = {variant.name: variant for variant in (BARE, DEFAULT, FULL, FULL_NATIVE, joined)}

        def measure(name: str) -> float:
            began = time.perf_counter()
            with fleet.running(variants[name], plan.folder):
                return time.perf_counter() - began

        seconds = interleaved(list(variants), plan.starts, measure)
    return Table(
        "starts",
        "From start to the first answer",
        "Of the whole process, compared with the bare server.",
        _rows({name: {"time": ratio} for name, ratio in ratios(seconds, BARE.name).items()}),
    )


def _beyond(seconds: Sequence[float], of: Sequence[float]) -> Spread:
    return Spread.of([(own - nothing) * 1000 for own, nothing in zip(seconds, of, strict=True)])


def _rows(figures: Mapping[str, Mapping[str, Spread]]) -> tuple[Row, ...]:
    return tuple(Row(name, of) for name, of in figures.items())


def _import(module: str) -> float:
    # hrpc imports its names when they are asked for; what counts is all that a service needs of it.
    code = "pass" if module == _NOTHING else "from hrpc import *" if module == "hrpc" else f"import {module}"
    began = time.perf_counter()
    command = machine.pinned(machine.SERVER_CORE, sys.executable, "-c", code)
    subprocess.run(command, cwd=fleet.ROOT, env=fleet.environ(), check=True)
    return time.perf_counter() - began
