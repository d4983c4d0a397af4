"""Whether a process can be forked into workers, and how many."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from hrpc.errors import ForkError
from hrpc.option.processes import WorkerCount

QUOTA = "/sys/fs/cgroup/cpu.max"
"""What a container may use (https://docs.kernel.org/admin-guide/cgroup-v2.html, "cpu.max")."""

_OF_GRPC = ("grpc", "event_engine", "timer_manager", "resolver-", "default-executo")
"""How the threads of gRPC's core are named."""


def count(wanted: WorkerCount) -> int:
    """How many processes are to serve: "auto" is one for each CPU that this process may use."""
    return _cpus() if wanted == "auto" else wanted


def _cpus() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path(QUOTA).read_text().split()
        cpus = min(cpus, -(-int(quota) // int(period)))
    return max(1, cpus)


def check() -> None:
    """Raises `ForkError` when something runs in this process that a fork would break."""
    if any(name.startswith(_OF_GRPC) for name in _native_threads()):
        raise ForkError(
            "hrpc.with_workers: the process cannot be forked, because a channel or a server of gRPC was made in it "
            "already. Make it when the service has started, or take one worker"
        )
    others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    if others:
        raise ForkError(
            "hrpc.with_workers: the process cannot be forked, because threads run in it that its workers would not "
            f"have: {', '.join(sorted(others))}. Start them when the service has started, or take one worker"
        )


def _native_threads() -> list[str]:
    names = []
    with suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                names.append((task / "comm").read_text().strip())
    return names
