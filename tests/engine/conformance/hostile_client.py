"""A client of HTTP/2 that behaves as no client of gRPC does: it stops reading, floods, and sends what it likes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events

from tests.echo import SERVICE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Http2:
    """One connection. It reads only when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.state.initiate_connection()

    async def flush(self) -> None:
        """Sends what has been made."""
        self._writer.write(self.state.data_to_send())
        await self._writer.drain()

    async def send(self, data: bytes) -> None:
        """Sends these bytes."""
        self._writer.write(data)
        await self._writer.drain()

    def call(self, method: str, message: bytes = b"x", headers: tuple[tuple[str, str], ...] = ()) -> int:
        """Makes a call ready to be sent; gives its stream."""
        stream = self.state.get_next_available_stream_id()
        self.state.send_headers(stream, [*_headers(f"/{SERVICE}/{method}"), *headers])
        self.state.send_data(stream, struct.pack(">?I", False, len(message)) + message, end_stream=True)
        return stream

    async def events(self) -> list[Any]:
        """Reads once, and answers nothing; no events when the server has closed."""
        return list(self.state.receive_data(await self._reader.read(65536)))

    async def closed(self) -> bytes:
        """Waits until the server closes; gives what it has sent before."""
        try:
            return await self._reader.read(-1)
        except ConnectionError:
            return b""


def _headers(path: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]


@asynccontextmanager
async def connected(address: str, receive_buffer: int | None = None) -> AsyncIterator[Http2]:
    """A connection, closed at the end without a word."""
    host, _, port = address.rpartition(":")
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    try:
        yield Http2(reader, writer)
    finally:
        writer.transport.abort()
