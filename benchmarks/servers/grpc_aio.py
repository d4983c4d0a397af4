"""grpc.aio and nothing else: what all others are compared with."""

from __future__ import annotations

import argparse
import asyncio

import grpc.aio

from benchmarks.servers import echo


async def main(arguments: argparse.Namespace) -> None:
    server = grpc.aio.server()
    echo.register(server, arguments.methods)
    server.add_insecure_port(f"127.0.0.1:{arguments.port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = echo.parser()
    parser.add_argument("--uvloop", action="store_true")
    given = parser.parse_args()
    if given.uvloop:
        import uvloop

        uvloop.run(main(given))
    else:
        asyncio.run(main(given))
