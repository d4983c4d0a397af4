"""Both ends of HTTP/2 without gRPC, for what gRPC does not show: pings, settings, headers, GOAWAY."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event

E = TypeVar("E", bound=Event)


class Http2:
    """One end of a connection. It answers pings only while it is read from, as any HTTP/2 does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client_side: bool) -> None:
        self._reader = reader
        self._writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=client_side, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events: list[Event] = []
        self.flush()

    def flush(self) -> None:
        """Sends what `h2` has to send."""
        self._writer.write(self.h2.data_to_send())

    async def read(self) -> bool:
        """Reads the next events and answers them; False at the end of the connection."""
        data = await self._reader.read(65536)
        if data:
            self.events += self.h2.receive_data(data)
            self.flush()
        return bool(data)

    async def until(self, kind: type[E], number: int = 1) -> list[E]:
        """Reads on until so many events of a kind have come; gives them."""
        while len(found := [event for event in self.events if isinstance(event, kind)]) < number:
            assert await self.read(), f"closed after {self.events}"
        return found

    async def closed(self) -> None:
        """Waits for the other side to close, without answering anything."""
        while await self._reader.read(65536):
            pass

    def close(self) -> None:
        """Closes the connection."""
        self._writer.close()


@asynccontextmanager
async def http2(address: str) -> AsyncIterator[Http2]:
    """A connection to ``host:port``."""
    host, _, port = address.rpartition(":")
    connection = Http2(*await asyncio.open_connection(host, int(port)), client_side=True)
    try:
        async with asyncio.timeout(20):
            yield connection
    finally:
        connection.close()


@asynccontextmanager
async def http2_server(connections: asyncio.Queue[Http2]) -> AsyncIterator[int]:
    """Puts each connection that comes into `connections`; gives the port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Http2(reader, writer, client_side=False)
        known.append(connection)
        connections.put_nowait(connection)

    known: list[Http2] = []
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in known:
            connection.close()
        await server.wait_closed()
