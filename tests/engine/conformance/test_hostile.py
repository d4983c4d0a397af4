"""Clients that mean harm, or do not know better: the others are served all the same."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc
import grpc.aio
import h2.events
import h2.exceptions
import pytest

import hrpc
from tests.echo import SERVICE, call
from tests.engine.conformance.conftest import Engine
from tests.engine.conformance.hostile_client import PREFACE, Http2, connected
from tests.eventually import eventually


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame of HTTP/2, which may lie about its length."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)

GARBAGE = {
    "nothing": b"",
    "random": random.Random(7).randbytes(5000),
    "zeros": bytes(5000),
    "http 1": b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
    "tls": bytes.fromhex("16030100a5010000a10303") + random.Random(8).randbytes(160),
    "half a preface": PREFACE[:10],
    "preface and random": PREFACE + random.Random(9).randbytes(5000),
    "settings of odd length": PREFACE + frame(SETTINGS, payload=b"12345"),
    "settings out of range": PREFACE + frame(SETTINGS, payload=struct.pack(">HI", 4, 2**32 - 1)),
    "frame too long": PREFACE + frame(SETTINGS) + frame(DATA, 0, 1, b"x" * 100, length=2**24 - 1),
    "data on no stream": PREFACE + frame(SETTINGS) + frame(DATA, 0, 0, b"x"),
    "data on a stream never opened": PREFACE + frame(SETTINGS) + frame(DATA, 0, 99, b"x"),
    "headers that are no hpack": PREFACE + frame(SETTINGS) + frame(HEADERS, 4, 1, b"\xff" * 50),
    "headers without pseudo headers": PREFACE + frame(SETTINGS) + frame(HEADERS, 5, 1, b"\x00\x01a\x01b"),
    "even stream": PREFACE + frame(SETTINGS) + frame(HEADERS, 5, 2, b"\x82"),
    "headers that go on for ever": PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 2000,
    "window of zero": PREFACE + frame(SETTINGS) + frame(WINDOW, payload=bytes(4)),
    "window too wide": PREFACE + frame(SETTINGS) + frame(WINDOW, payload=struct.pack(">I", 2**31 - 1)) * 2,
    "push from a client": PREFACE + frame(SETTINGS) + frame(PUSH, 4, 1, b"\x00\x00\x00\x02\x82"),
    "unknown frames": PREFACE + frame(SETTINGS) + frame(99, 255, 1, b"?") * 50,
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_on_one_connection_leaves_the_others_served(engine: Engine, name: str) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Echo") == b"x"
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port))) as sock:
            with suppress(OSError):  # the server may close before it has read all of it
                sock.sendall(GARBAGE[name])
                sock.shutdown(socket.SHUT_WR)
            assert await call(channel, "Echo", timeout=30) == b"x"
        async with grpc.aio.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as other:
            assert await call(other, "Echo", timeout=30) == b"x"


BAD_MESSAGES = {
    "shorter than it says": struct.pack(">?I", False, 100) + b"x",
    "longer than it says": struct.pack(">?I", False, 1) + b"x" * 100,
    "half a prefix": b"\0\0",
    "nothing": b"",
    "compressed with nothing named": struct.pack(">?I", True, 3) + b"xyz",
    "another flag": b"\x07" + struct.pack(">I", 1) + b"x",
    "far over the limit": struct.pack(">?I", False, 2**32 - 1),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
async def test_a_message_that_is_none_leaves_the_next_call_of_its_connection_served(engine: Engine, name: str) -> None:
    async with engine.server() as server, connected(server.address) as client:
        bad = client.state.get_next_available_stream_id()
        client.state.send_headers(bad, REQUEST)
        client.state.send_data(bad, BAD_MESSAGES[name], end_stream=True)
        good = client.call("Echo")
        await client.flush()
        assert await status(client, good) == "0"


REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"/{SERVICE}/Echo"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


async def status(client: Http2, stream: int) -> str:
    """The gRPC status of a call."""
    async with asyncio.timeout(10):
        while events := await client.events():
            for event in events:
                found = {_text(key): value for key, value in getattr(event, "headers", None) or ()}
                if "grpc-status" in found and event.stream_id == stream:
                    return _text(found["grpc-status"])
    raise AssertionError("the server has closed the connection")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


async def test_calls_reset_as_soon_as_they_are_made_do_not_stay(engine: Engine) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        async with connected(server.address) as flood:
            # A server that has had enough closes, which is as well.
            with suppress(ConnectionError, h2.exceptions.ProtocolError):
                for _ in range(50):
                    for _ in range(40):
                        flood.state.reset_stream(flood.call("Echo"))
                    await flood.flush()

        async def served() -> bool:
            # grpcio cancels every new call while a thousand wait for their handlers.
            with suppress(grpc.aio.AioRpcError):
                return bool(await call(channel, "Echo", timeout=30) == b"x")
            return False

        async def none_runs() -> bool:
            assert server._running is not None
            return server._running.parts.calls.in_flight == 0

        await eventually(served)
        await eventually(none_runs)


@pytest.mark.parametrize("kind", ["ping", "settings", "priority", "window"])
async def test_a_flood_of_control_frames_leaves_the_others_served(engine: Engine, kind: str) -> None:
    one = {
        "ping": frame(PING, payload=bytes(8)),
        "settings": frame(SETTINGS, payload=struct.pack(">HI", 3, 100)),
        "priority": frame(PRIORITY, 0, 1, bytes(5)),
        "window": frame(WINDOW, payload=struct.pack(">I", 1)),
    }[kind]
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        async with connected(server.address) as flood:
            await flood.send(PREFACE + frame(SETTINGS))
            with suppress(ConnectionError, TimeoutError):  # it may have enough, or not read on
                for _ in range(100):
                    await asyncio.wait_for(flood.send(one * 100), 5)
            assert await call(channel, "Echo", timeout=30) == b"x"


async def test_connections_that_say_nothing_leave_room_for_calls(engine: Engine) -> None:
    async with engine.server() as server, AsyncExitStack() as stack:
        for _ in range(200):
            await stack.enter_async_context(connected(server.address))
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo", timeout=30) == b"x"


LARGE = 200_000


async def large(_: bytes, __: Any) -> bytes:
    return os.urandom(LARGE)


async def large_stream(_: bytes, __: Any) -> Any:
    for _number in range(20):
        yield os.urandom(LARGE)


def with_large(engine: Engine, *options: hrpc.Option) -> hrpc.Server:
    server = engine.server(*options, Large=large)
    handler = grpc.unary_stream_rpc_method_handler(large_stream)
    server.add_registered_method_handlers(f"{SERVICE}Stream", {"Large": handler})
    return server


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", [f"{SERVICE}/Large", f"{SERVICE}Stream/Large"])
async def test_clients_that_never_read_do_not_slow_the_others_down_nor_hold_up_the_stop(
    engine: Engine, path: str
) -> None:
    server = with_large(engine, hrpc.with_graceful_stop(grace=0.5))
    async with server, AsyncExitStack() as stack:
        for _ in range(20):
            stalled = await stack.enter_async_context(connected(server.address, receive_buffer=4096))
            for _call in range(5):
                stream = stalled.state.get_next_available_stream_id()
                headers = [pair for pair in REQUEST if pair[0] != ":path"]
                stalled.state.send_headers(stream, [*headers[:2], (":path", f"/{path}"), *headers[2:]])
                stalled.state.send_data(stream, struct.pack(">?I", False, 1) + b"x", end_stream=True)
            await stalled.flush()

        async def all_came() -> bool:
            assert server._running is not None
            return sum(calls.started for calls in server._running.parts.calls) >= 100

        await eventually(all_came, 60)
        async with grpc.aio.insecure_channel(server.address) as channel:
            async with asyncio.timeout(60):
                assert len(await call(channel, "Large")) == LARGE
                parts = [len(part) async for part in channel.unary_stream(f"/{SERVICE}Stream/Large")(b"")]
                assert parts == [LARGE] * 20
        async with asyncio.timeout(60):
            await server.stop()


async def test_a_client_that_reads_slowly_gets_all_of_it(engine: Engine) -> None:
    async with with_large(engine) as server, connected(server.address, receive_buffer=4096) as slow:
        stream = slow.call("Large")
        await slow.flush()
        received = 0
        async with asyncio.timeout(20):
            while received < LARGE:
                for event in await slow.events():
                    if isinstance(event, h2.events.DataReceived):
                        received += len(event.data)
                        slow.state.acknowledge_received_data(event.flow_controlled_length, stream)
                await slow.flush()
                await asyncio.sleep(0)
        assert received >= LARGE
