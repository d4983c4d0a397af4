"""A TCP proxy that loses what it is told to lose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Passes bytes on both ways, until one of its switches is set.

    `cut`: the next request never reaches the server, and its connection is closed. `lose`: the next request reaches the
    server, and the connection is closed when the answer comes. `mute`: the next request reaches the server, and nothing
    more comes back.
    """

    def __init__(self, host: str, port: int) -> None:
        self.server = (host, port)
        self.port = 0
        self.cut = self.lose = self.mute = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self.server)
        try:
            async with asyncio.TaskGroup() as tasks:
                back = tasks.create_task(self._answers(up_reader, writer))
                tasks.create_task(self._requests(reader, up_writer, back))
        finally:
            for side in (writer, up_writer):
                side.close()
                with suppress(OSError):
                    await side.wait_closed()

    async def _requests(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, back: asyncio.Task[None]) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.cut:
                    self.cut = False
                    break
                up.write(data)
        back.cancel()

    async def _answers(self, up: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await up.read(65536):
                if self.lose:
                    self.lose = False
                    break
                if not self.mute:
                    writer.write(data)
        writer.close()


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy before `host:port`, on a port of its own."""
    proxy = Proxy(host, port)
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(proxy.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1")
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """The port of a server that sends `answer` to whoever connects, and nothing else."""
    writers: set[asyncio.StreamWriter] = set()

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        writer.write(answer)

    server = await asyncio.start_server(accept, "127.0.0.1")
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
