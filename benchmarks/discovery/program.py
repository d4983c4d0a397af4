"""Measuring programs: each runs in a process of its own, held to one core, and writes its figures to a file."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hrpc
from benchmarks import fleet, machine
from benchmarks.plan import Plan
from hrpc import Consul

LIMIT = 900.0


def figures(module: str, plan: Plan, *arguments: object, core: int = machine.SERVER_CORE) -> Any:
    """What ``python -m benchmarks.discovery.{module}`` has measured; its output goes to a file beside the figures."""
    output = plan.folder / f"{module}.json"
    command = [sys.executable, "-m", f"benchmarks.discovery.{module}", str(output), *map(str, arguments)]
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


def caller(address: str, *options: hrpc.Option, upstreams: Sequence[str] = ()) -> hrpc.Server:
    """A server that only calls others, not started."""
    return hrpc.new_server(
        hrpc.with_server_name("caller"),
        hrpc.with_listen_port(0, "127.0.0.1"),
        hrpc.with_consul(Consul(address=address)),
        hrpc.with_graceful_stop(drain_delay=0, step_limit=30),
        *([hrpc.with_upstreams(*upstreams)] if upstreams else []),
        *options,
    )


def resident_kilobytes() -> int:
    """The memory of this process."""
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise OSError("no VmRSS")
