"""A line to a TCP server that can be cut, frozen and slowed down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Passes bytes on, both ways, from its own `port` to a server.

    A line that is frozen takes connections and bytes, and nothing comes out at the other end until it is healed: a
    partition, as TCP sees one. One that is refused looks like a machine on which nobody listens.
    """

    def __init__(self, host: str, port: int, own_host: str = "127.0.0.1", own_port: int = 0) -> None:
        self._server = (host, port)
        self._own = (own_host, own_port)
        self.port = own_port
        self.delay = 0.0
        self._flows = asyncio.Event()
        self._flows.set()
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """``host:port`` of this end."""
        return f"{self._own[0]}:{self.port}"

    async def listen(self) -> None:
        """Takes connections."""
        self._listener = await asyncio.start_server(self._accept, self._own[0], self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        """From now on nothing gets through, and nobody is told."""
        self._flows.clear()

    def say(self, data: bytes) -> None:
        """Says this to all clients, as if it came from the server; let nothing be on its way meanwhile."""
        for client in self._clients:
            client.write(data)

    async def refuse(self) -> None:
        """Cuts all connections, and takes no new one."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self.cut()

    async def cut(self) -> None:
        """Cuts all connections; new ones get through."""
        cut = list(self._connections)
        for connection in cut:
            connection.cancel()
        await asyncio.gather(*cut, return_exceptions=True)

    async def heal(self) -> None:
        """Everything gets through again, also what was held back."""
        self.delay = 0.0
        self._flows.set()
        if self._listener is None:
            await self.listen()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # A task that is cancelled before it has begun closes nothing.
        connection.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        self._clients.add(writer)
        try:
            with suppress(OSError):
                await self._flows.wait()
                up_reader, up_writer = await asyncio.open_connection(*self._server)
                writers.append(up_writer)
                async with asyncio.TaskGroup() as tasks:
                    ways = [
                        tasks.create_task(self._pass_on(reader, up_writer)),
                        tasks.create_task(self._pass_on(up_reader, writer)),
                    ]
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in ways:
                        way.cancel()
        finally:
            self._clients.discard(writer)
            for each in writers:
                each.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def proxied(address: str, own_host: str = "127.0.0.1", own_port: int = 0) -> AsyncIterator[Proxy]:
    """A line to ``host:port``, which ends with the context."""
    host, _, port = address.rpartition(":")
    proxy = Proxy(host, int(port), own_host, own_port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.refuse()
