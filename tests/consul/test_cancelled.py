"""A request to Consul that is cancelled ends, whatever else happens at that moment."""

from __future__ import annotations

import asyncio
import time

import pytest

from hrpc.consul.transport import Transport
from hrpc.option import Consul

LIMIT = 1.0


async def test_a_request_that_is_cancelled_when_its_time_has_run_out_is_cancelled() -> None:
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()  # until the other side has closed
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Transport(Consul(address=f"127.0.0.1:{port}", timeout=LIMIT)) as transport:
        request = asyncio.create_task(transport.request("GET", "/v1/status/leader"))
        await asked.wait()
        asyncio.get_running_loop().call_later(LIMIT + 0.01, request.cancel)
        time.sleep(LIMIT + 0.02)  # noqa: ASYNC251 - the loop is late: the limit and the end come at once
        with pytest.raises(asyncio.CancelledError):
            await request
