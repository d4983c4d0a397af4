"""The connections to other services live while nobody uses them, and are not too lively for the other side."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from h2.events import PingReceived

import hrpc
from hrpc import service
from hrpc.abc import Instance
from hrpc.consul import Client
from hrpc.option import Keepalive
from hrpc.service.dialing import Dial
from hrpc.testing.servers import ConsulServer
from tests.echo import call
from tests.http2 import Http2, http2_server
from tests.server.recorded import a_server
from tests.service.peers import called, caller, entry


@pytest.mark.parametrize(
    ("meta", "keepalive", "time", "without_calls"),
    [
        ({"keepalive": "5"}, Keepalive(), 10_000, 1),
        ({"keepalive": "20"}, Keepalive(), 30_000, 1),
        ({"keepalive": "5"}, Keepalive(time=60), 60_000, 1),
        ({"keepalive": "5"}, Keepalive(permit_without_stream=False), 10_000, 0),
        ({}, Keepalive(), 450_000, 0),
        ({"keepalive": "soon"}, Keepalive(), 450_000, 0),
        ({"keepalive": "nan"}, Keepalive(), 450_000, 0),
        ({"keepalive": "-1"}, Keepalive(), 450_000, 0),
        ({"keepalive": "1e300"}, Keepalive(), 2**31 - 1, 1),
    ],
)
def test_an_instance_is_pinged_as_often_as_it_allows(
    meta: dict[str, str], keepalive: Keepalive, time: int, without_calls: int
) -> None:
    dial = Dial.of(Instance("users-1", "users", "127.0.0.1", 1, meta=meta))
    found = dict(dial.arguments(keepalive))
    assert (found["grpc.keepalive_time_ms"], found["grpc.keepalive_permit_without_calls"]) == (time, without_calls)


async def test_a_connection_that_nobody_uses_is_kept_alive(consul: ConsulServer, registry: Client) -> None:
    connections: asyncio.Queue[Http2] = asyncio.Queue()
    async with http2_server(connections) as port, asyncio.timeout(20):
        pinged = entry("pinged", 1, port, keepalive="0.05")
        async with caller(consul, hrpc.with_keepalive(time=0.1, timeout=10)), registry.registered(pinged):
            ready = asyncio.create_task(service.channel("pinged").channel_ready())
            try:
                await (await connections.get()).until(PingReceived, 2)
            finally:
                ready.cancel()


@asynccontextmanager
async def elsewhere(consul: ConsulServer, name: str, *options: hrpc.Option) -> AsyncIterator[None]:
    """A server of ours on an event loop of its own."""
    loop, started, ended = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    registered = hrpc.with_consul(hrpc.Consul(address=consul.address))
    all_options = (hrpc.with_server_name(name), registered, hrpc.with_graceful_stop(drain_delay=0), *options)

    async def serve() -> None:
        async with a_server(*all_options):
            loop.call_soon_threadsafe(started.set)
            await asyncio.to_thread(ended.wait)

    serving = asyncio.create_task(asyncio.to_thread(asyncio.run, serve()))
    try:
        await asyncio.wait({serving, asyncio.ensure_future(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        ended.set()
        await serving


async def test_idle_channels_between_servers_of_ours_live_by_what_the_other_side_has_registered(
    consul: ConsulServer,
) -> None:
    # As often as the first one is pinged, the second would not allow, and close the connection at the third ping.
    # gRPC's clients ping no more often than once a second.
    talkative, taciturn = (hrpc.with_keepalive(timeout=10, minimum=minimum) for minimum in (0.1, 60))
    async with elsewhere(consul, "talkative", talkative), elsewhere(consul, "taciturn", taciturn):
        async with caller(consul, hrpc.with_keepalive(time=0.15, timeout=10)):
            channels = [service.channel(name) for name in ("talkative", "taciturn")]
            changes = []
            for channel in channels:
                async with channel:
                    assert await call(channel, "Echo") == b"x"
                changes.append(asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.READY)))
            changed, _ = await asyncio.wait(changes, timeout=4.5, return_when=asyncio.FIRST_COMPLETED)
            for change in changes:
                change.cancel()
            assert not changed


async def test_a_call_to_an_instance_that_says_nothing_of_pings_goes_through(
    consul: ConsulServer, registry: Client
) -> None:
    async with caller(consul), called(b"a") as port, registry.registered(entry("quiet", 1, port)):
        async with service.channel("quiet") as channel:
            assert await call(channel, "Name") == b"a"


async def test_many_channels_to_a_service_open_no_more_files(consul: ConsulServer, registry: Client) -> None:
    async with caller(consul), called(b"a") as port, registry.registered(entry("level", 1, port)):
        async with service.channel("level") as channel:
            assert await call(channel, "Name") == b"a"
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            async with service.channel("level") as channel:
                assert await call(channel, "Name") == b"a"
        # A few may come with what else the process does, such as a further connection to Consul; not one for each.
        assert len(os.listdir("/proc/self/fd")) < before + 20


async def test_the_kernel_gives_up_on_an_instance_that_is_gone_long_before_tcp_would(
    consul: ConsulServer, registry: Client
) -> None:
    async with caller(consul), called(b"a") as port, registry.registered(entry("gone", 1, port)):
        async with service.channel("gone") as channel:
            assert await call(channel, "Name") == b"a"
            assert user_timeouts(port) == [20_000]


def user_timeouts(port: int) -> list[int]:
    """Milliseconds that this process' connections to a port wait for bytes to be taken; 0 is the kernel's own limit."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(number))) as sock:
                if sock.getpeername()[1:2] == (port,):
                    found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
        except OSError:  # closed meanwhile, or not connected
            continue
    return found
