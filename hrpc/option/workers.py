"""The option for several processes."""

from __future__ import annotations

from typing import Literal

from hrpc.option.processes import checked
from hrpc.option.settings import Option


def with_workers(count: int | Literal["auto"]) -> Option:
    """How many processes serve, on one port; ``"auto"`` is one for each CPU that the service may use.

    With more than one, ``serve()`` forks them, each of which runs the service as if it were alone: with its own pools
    and hooks. The process that was started keeps the registration, the probes, the metrics of all and the signals, and
    begins another worker when one dies; SIGHUP replaces them one after the other. docs/workers.md tells what else is
    different. Nothing that runs threads, and no channel or server of gRPC, may be there before ``serve()``.

    It is for ``serve()`` alone: jobs and ``async with server`` run in the process they are in. The environment variable
    ``HRPC_WORKERS``, when not empty, wins over `count`.

    ::

        hrpc.with_workers("auto")
    """
    return Option("with_workers", {"workers": checked("hrpc.with_workers", count)})
