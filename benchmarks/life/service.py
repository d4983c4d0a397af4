"""A service with all that it may stand on, which ``python -m benchmarks.life.service --kind full`` starts.

Before it starts, it imports what the start would import, and says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib import import_module

import hrpc
from benchmarks.servers import echo
from hrpc.database import mysql, redis

IMPORTED = "imported"
NAME = "living"
KINDS: Mapping[str, tuple[str, ...]] = {
    "plain": ("hrpc.server.running", "hrpc.server.workers.forking", "hrpc.engine.grpcio"),
    "full": (
        "hrpc.server.running",
        "hrpc.server.workers.forking",
        "hrpc.engine.grpcio",
        "hrpc.consul",
        "hrpc.consul.address",
        "hrpc.database.mysql.pool",
        "hrpc.database.redis.pool",
        "hrpc.health.http",
        "hrpc.health.debug",
        "hrpc.server.explaining",
        "hrpc.metrics.exposition",
        "hrpc.metrics.collectors",
        "hrpc.metrics.call_text",
    ),
}
"""What it is made of, and what that imports when it starts."""


def server(kind: str) -> hrpc.Server:
    """A server of this kind; what it stands on is told by the environment and by Consul."""
    options = [hrpc.with_server_name(NAME), hrpc.with_listen_port(0, host="127.0.0.1")]
    if kind == "full":
        options += [
            hrpc.with_consul(),
            hrpc.with_databases(mysql.new(), redis.new()),
            hrpc.with_health_check(0),
            hrpc.with_metrics(0),
            hrpc.with_graceful_stop(drain_delay=0),  # what is waited for on purpose is no cost
        ]
    made = hrpc.new_server(*options)
    echo.register(made)
    return made


def main() -> None:
    """Imports, says so, and serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=KINDS, required=True)
    kind = parser.parse_args().kind
    made = server(kind)
    for name in KINDS[kind]:
        import_module(name)
    print(IMPORTED, flush=True)
    made.serve()


if __name__ == "__main__":
    main()
