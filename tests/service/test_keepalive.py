"""The connections to other services live while nobody uses them, and are not too lively for the other side."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

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
                await (await connections.get()).until(PingReceived, 5)
            finally:
                ready.cancel()


@pytest.mark.parametrize("silent", [False, True])
async def test_an_idle_channel_between_two_of_ours_lives_by_what_the_other_has_registered(
    consul: ConsulServer, silent: bool
) -> None:
    # With a longer minimum of the server's, its callers wait longer: pings as often as theirs would be sent away.
    keepalive = hrpc.with_keepalive(time=0.1, timeout=10, minimum=60 if silent else 0.1)
    name = f"idle-{'silent' if silent else 'asked'}"
    options = (hrpc.with_server_name(name), hrpc.with_consul(hrpc.Consul(address=consul.address)), keepalive)
    quick = hrpc.with_graceful_stop(drain_delay=0)
    served, started = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with a_server(*options, quick):
            started.set()
            await served.wait()

    other = asyncio.create_task(asyncio.to_thread(asyncio.run, serve()))
    try:
        async with caller(consul, hrpc.with_keepalive(time=0.15, timeout=10)), service.channel(name) as channel:
            await service.ready(name)
            assert await call(channel, "Echo") == b"x"
            with suppress(TimeoutError):
                async with asyncio.timeout(1.5):  # ten pings, of which the third would be one too many
                    await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
                    pytest.fail("the connection was closed")
    finally:
        served.set()
        await other


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
        assert len(os.listdir("/proc/self/fd")) <= before


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
