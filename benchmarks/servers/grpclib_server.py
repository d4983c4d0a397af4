"""grpclib and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.server import Server

from benchmarks import echo_pb2
from benchmarks.servers import echo


class Echo:
    """Gives back what it gets; the mapping is what grpclib's own plugin of protoc would generate."""

    async def say(self, stream: Any) -> None:
        request = await stream.recv_message()
        await stream.send_message(echo_pb2.Message(body=request.body))

    async def repeat(self, stream: Any) -> None:
        request = await stream.recv_message()
        for _ in range(request.times):
            await stream.send_message(echo_pb2.Message(body=request.body))

    def __mapping__(self) -> dict[str, Handler]:
        message, repetition = echo_pb2.Message, echo_pb2.Repetition
        return {
            f"/{echo.SERVICE}/Say": Handler(self.say, Cardinality.UNARY_UNARY, message, message),
            f"/{echo.SERVICE}/Repeat": Handler(self.repeat, Cardinality.UNARY_STREAM, repetition, message),
        }


async def main(port: int) -> None:
    server = Server([Echo()])
    await server.start("127.0.0.1", port)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(echo.parser().parse_args().port))
