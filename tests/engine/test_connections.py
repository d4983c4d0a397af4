"""The limits and the life of a server's connections, as a client sees them."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from h2.events import ConnectionTerminated, PingAckReceived, PingReceived, RemoteSettingsChanged, ResponseReceived
from h2.settings import SettingCodes

import hrpc
from tests.echo import SERVICE, Gate, call
from tests.http2 import http2
from tests.server.recorded import a_server

STATE = grpc.ChannelConnectivity
UNLIMITED = [("grpc.max_receive_message_length", -1)]


async def left(channel: grpc.aio.Channel, state: grpc.ChannelConnectivity) -> grpc.ChannelConnectivity:
    """Waits until the channel is no longer in `state`; gives the state it is in then."""
    async with asyncio.timeout(20):
        await channel.wait_for_state_change(state)
    return channel.get_state()


@pytest.mark.parametrize(
    ("option", "size", "says"),
    [
        (None, 4 * 1024 * 1024, "Received message larger than max"),
        (hrpc.with_message_limits(receive=1000), 1000, "Received message larger than max"),
        (hrpc.with_message_limits(send=500), 500, "Sent message larger than max"),
    ],
)
async def test_a_message_above_a_limit_ends_its_call_alone(option: hrpc.Option | None, size: int, says: str) -> None:
    options = () if option is None else (option,)
    async with a_server(*options) as server, grpc.aio.insecure_channel(server.address, UNLIMITED) as channel:
        assert await call(channel, "Echo", b"x" * size) == b"x" * size
        with pytest.raises(grpc.aio.AioRpcError, match=says) as caught:
            await call(channel, "Echo", b"x" * (size + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(channel, "Echo") == b"x"


async def test_connections_above_an_age_are_replaced_and_no_short_call_fails() -> None:
    peers: set[str] = set()

    async def peer(request: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        return request

    async with a_server(hrpc.with_keepalive(age=0.1, age_grace=10), Peer=peer) as server:
        async with grpc.aio.insecure_channel(server.address) as channel, asyncio.timeout(20):
            while len(peers) < 3:
                assert await call(channel, "Peer") == b"x"


async def test_a_call_above_the_age_of_connections_and_its_grace_is_unavailable() -> None:
    option = hrpc.with_keepalive(age=0.1, age_grace=0.1)
    async with a_server(option, gate=Gate()) as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="max connection age") as caught:
            await call(channel, "Hold", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_connection_without_calls_is_closed_when_asked_for_and_comes_back() -> None:
    option = hrpc.with_keepalive(idle=0.2)
    async with a_server(option) as server, grpc.aio.insecure_channel(server.address) as channel:
        for _ in range(2):
            assert await call(channel, "Echo") == b"x"
            assert await left(channel, STATE.READY) is STATE.IDLE


async def test_a_client_that_gives_no_sign_of_life_is_given_up() -> None:
    async with a_server(hrpc.with_keepalive(time=0.1, timeout=0.1)) as server, http2(server.address) as client:
        await client.closed()


async def test_a_client_that_answers_stays_and_is_asked_again_and_again() -> None:
    async with a_server(hrpc.with_keepalive(time=0.1, timeout=10)) as server, http2(server.address) as client:
        await client.until(PingReceived, 5)


@pytest.mark.parametrize(
    ("option", "stays"),
    [
        (hrpc.with_keepalive(minimum=0.05), True),
        (hrpc.with_keepalive(minimum=60), False),
        (hrpc.with_keepalive(minimum=0.05, permit_without_stream=False), False),
    ],
)
async def test_a_client_that_pings_too_often_is_sent_away(option: hrpc.Option, stays: bool) -> None:
    async with a_server(option) as server, http2(server.address) as client:
        for number in range(1, 6):
            client.h2.ping(b"12345678")
            client.flush()
            if stays:  # a busy server would find two pings at once, and take the second for one too early
                await client.until(PingAckReceived, number)
            await asyncio.sleep(0.1)  # the time between two pings is what this is about
        if not stays:
            (gone,) = await client.until(ConnectionTerminated)
            assert gone.additional_data == b"too_many_pings"


async def test_a_connection_carries_no_more_calls_than_allowed() -> None:
    async with a_server(hrpc.with_max_streams(3)) as server, http2(server.address) as client:
        told = await client.until(RemoteSettingsChanged)
        assert told[0].changed_settings[SettingCodes.MAX_CONCURRENT_STREAMS].new_value == 3


@pytest.mark.parametrize("algorithm", ["gzip", "deflate", None])
async def test_responses_are_compressed_when_asked_for(algorithm: Any) -> None:
    options = () if algorithm is None else (hrpc.with_compression(algorithm),)
    async with a_server(*options) as server, http2(server.address) as client:
        target = (":method", "POST"), (":scheme", "http"), (":path", f"/{SERVICE}/Echo"), (":authority", "a")
        accepts = ("te", "trailers"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "gzip,deflate")
        client.h2.send_headers(1, [*target, *accepts])
        message = b"x" * 1000
        client.h2.send_data(1, b"\0" + len(message).to_bytes(4) + message, end_stream=True)
        client.flush()
        (answer,) = await client.until(ResponseReceived)
        assert answer.headers is not None
        assert dict(answer.headers).get("grpc-encoding") == algorithm


async def test_connections_that_began_together_are_closed_apart_and_every_call_ends_well() -> None:
    lived: list[float] = []

    async def work(request: bytes, _: Any) -> bytes:
        await asyncio.sleep(0.02)  # calls are under way whenever a connection reaches its age
        return request

    async def calls(channel: grpc.aio.Channel) -> None:
        for _ in range(120):
            assert await call(channel, "Work") == b"x"

    async def gone(channel: grpc.aio.Channel) -> None:
        assert await call(channel, "Work") == b"x"
        began = time.monotonic()
        await left(channel, STATE.READY)
        lived.append(time.monotonic() - began)

    async with a_server(hrpc.with_keepalive(age=2, age_grace=10), Work=work) as server, AsyncExitStack() as stack:
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(server.address, own)) for _ in range(25)]
        await asyncio.gather(*map(calls, channels[:5]), *map(gone, channels[5:]))
    assert max(lived) - min(lived) > 0.05  # gRPC itself spreads them over a tenth of the age, to either side
