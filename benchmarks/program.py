"""Measuring programs: each runs in a process of its own, held to one core, and writes its figures to a file."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import fleet, machine
from benchmarks.plan import Plan

LIMIT = 900.0


def figures(module: str, plan: Plan, *arguments: object, core: int = machine.SERVER_CORE) -> Any:
    """What ``python -m benchmarks.{module}`` has measured; its output goes to a file beside the figures."""
    output = plan.folder / f"{module}.json"
    command = [sys.executable, "-m", f"benchmarks.{module}", str(output), *map(str, arguments)]
    environ = fleet.environ() | {"HRPC_ADVERTISE": "127.0.0.1"}
    with (plan.folder / f"{module}.log").open("w") as log:
        done = subprocess.run(
            machine.pinned(core, *command),
            cwd=fleet.ROOT,
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=LIMIT,
        )
    if done.returncode:
        raise ChildProcessError(f"{module} has failed:\n{(plan.folder / f'{module}.log').read_text()[-3000:]}")
    return json.loads(output.read_text())


def parser() -> argparse.ArgumentParser:
    """Takes the file for the figures."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("output", type=Path)
    return arguments


def write(output: Path, found: object) -> None:
    """Writes the figures."""
    output.write_text(json.dumps(found))
