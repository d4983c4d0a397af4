"""pygrpc-native and nothing else."""

from __future__ import annotations

import argparse
import asyncio

import pygrpc_native.aio

from benchmarks.servers import echo


async def main(arguments: argparse.Namespace) -> None:
    server = pygrpc_native.aio.server()
    echo.register(server, arguments.methods)
    server.add_insecure_port(f"127.0.0.1:{arguments.port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(echo.parser().parse_args()))
