"""What measuring programs need that look services up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import hrpc
from hrpc import Consul


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
