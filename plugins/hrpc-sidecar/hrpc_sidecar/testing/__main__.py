"""``python -m hrpc_sidecar.testing``: a sidecar-agent for a machine on which none is installed."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress

from hrpc_sidecar.testing.agent import SidecarAgent


async def _run(consul: str | None, port: int, heartbeat: float) -> None:
    async with SidecarAgent(consul=consul, port=port, heartbeat=heartbeat) as agent:
        print(f"sidecar-agent on {agent.base_url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Runs one until it is interrupted."""
    arguments = argparse.ArgumentParser(prog="python -m hrpc_sidecar.testing", description=__doc__)
    arguments.add_argument("--consul", help="host:port of Consul; without it, services are only remembered")
    arguments.add_argument("--port", type=int, default=15010)
    arguments.add_argument("--heartbeat", type=float, default=5.0, help="seconds between two")
    given = arguments.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(given.consul, given.port, given.heartbeat))


if __name__ == "__main__":
    main()
