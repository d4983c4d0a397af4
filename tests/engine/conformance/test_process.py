"""A process of its own with ``serve()``, on each event loop: what is served, and how a signal ends it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.echo import SERVICE, call
from tests.engine.conformance.conftest import Engine
from tests.process import running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
HANDLERS = """
import grpc

async def slow(request, context):
    print("holds", flush=True)
    await asyncio.sleep(0.5)
    await context.send_initial_metadata((("a", "1"),))
    return request

async def fails(request, context):
    await context.abort(grpc.StatusCode.NOT_FOUND, "no")
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_calls_are_served_and_a_signal_waits_for_the_running_one(
    engine: Engine, loop: str, tmp_path: Path
) -> None:
    options = (
        LOCAL,
        f'hrpc.with_engine("{engine.kind}", allow_unbounded_receive=True)',
        f'hrpc.with_event_loop("{loop}")',
    )
    path = script(tmp_path, *options, before=HANDLERS)
    path.write_text(path.read_text().replace("add_echo(server)", "add_echo(server, Slow=slow, Fails=fails)"))
    async with running(path) as process:
        line = await process.says("serves on port")
        port = line.partition("serves on port ")[2].partition(",")[0]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            messages = [b"%d" % number for number in range(200)]
            assert await asyncio.gather(*(call(channel, "Echo", message) for message in messages)) == messages
            assert await call(channel, "EchoInThread", b"a") == b"a"
            assert [part async for part in channel.unary_stream(f"/{SERVICE}/Repeat")(b"a")] == [b"a"] * 3
            assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])) == b"ab"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, "Fails")
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no")
            running_call = asyncio.ensure_future(call(channel, "Slow", b"kept"))
            await process.says("holds")
            process.send(signal.SIGTERM)
            assert await running_call == b"kept"
        assert await process.ended() == 0
    assert "Traceback" not in process.output
