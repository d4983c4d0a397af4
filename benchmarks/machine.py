"""Where it was measured, and how the machine is shared out."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from hrpc.testing.servers.program import find_program

PACKAGES = ("grpcio", "protobuf", "pygrpc-native", "uvloop", "grpclib")

_CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
LOAD_CORE = _CORES[0]
"""The core of the load and of everything that measures."""
SERVER_CORE = _CORES[-1]
"""The core of the servers."""


def described(programs: Iterable[str]) -> dict[str, str]:
    """The machine and the versions, as they stand beside the figures."""
    return {
        "processor": _processor(),
        "cores": f"{len(_CORES)}, one for the servers and one for the load",
        "system": f"{platform.system()} {platform.release()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _first_line(path, "--version") for name in programs if (path := find_program(name))},
        **{package: version(package) for package in PACKAGES},
    }


def load_average() -> float:
    """How many processes wanted a core in the last minute."""
    return os.getloadavg()[0]


def pinned(core: int | None, *command: str) -> list[str]:
    """The command, held to one core, or with None on all that there are."""
    cores = _CORES if core is None else [core]
    return ["taskset", "-c", ",".join(map(str, cores)), *command]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
