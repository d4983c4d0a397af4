"""How long the command takes that a container runs every few seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import fleet, machine
from benchmarks.life import lives, service
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread, interleaved

WHOLE = "whole process, ms"
NOTHING = "Python that does nothing"
KINDS = ("startup", "liveness", "readiness")


def probed(kind: str) -> str:
    """The name of the row of a probe."""
    return f"`hrpc probe {kind}`"


def probes(plan: Plan) -> Table:
    """Milliseconds of the whole process."""
    environ = {"HRPC_RUN_DIR": str(plan.folder / "run")}
    with lives.running("plain", "", environ) as process:
        lives.ready(process)
        hrpc = str(Path(sys.executable).with_name("hrpc"))
        asked = {probed(kind): [hrpc, "probe", kind, "--name", service.NAME] for kind in KINDS}
        commands: dict[str, list[str]] = {NOTHING: [sys.executable, "-c", "pass"], **asked}
        found = interleaved(list(commands), plan.starts * 3, lambda name: seconds(commands[name], environ))
    rows = tuple(Row(name, {WHOLE: Spread.of([one * 1000 for one in of])}) for name, of in found.items())
    about = "From the start of the command to its end, of a service on another core; the middle of many."
    return Table("probes", "Probes", about, rows)


def seconds(command: Sequence[str], environ: Mapping[str, str]) -> float:
    """How long a command takes, which has to succeed."""
    began = time.perf_counter()
    pinned = machine.pinned(machine.LOAD_CORE, *command)
    subprocess.run(pinned, cwd=fleet.ROOT, env=fleet.environ() | dict(environ), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
