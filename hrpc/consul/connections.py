"""Connections to an agent, none of which outlives its client."""

from __future__ import annotations

import asyncio
import ssl
import weakref

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace


class Connections(aiohttp.TCPConnector):
    """Makes connections to an agent, as many as are asked for, and can end those that are still being closed.

    A query that is cut off takes its connection along, and with TLS that is closed when the agent has said farewell,
    or after half a minute: an event loop that ends before would leave the socket open.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        # A blocking query holds its connection for a minute, so their number is that of the watches.
        super().__init__(limit=0, ssl=tls or False)
        self._transports: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """As aiohttp does."""
        connection = await super().connect(req, traces, timeout)
        if connection.transport is not None:
            self._transports.add(connection.transport)
        return connection

    async def end(self) -> None:
        """Ends the connections that were closed, without waiting for the agent."""
        for transport in list(self._transports):
            if transport.is_closing():
                transport.abort()
        # Sockets that were closed in this turn of the loop are released in the next.
        await asyncio.sleep(0)
