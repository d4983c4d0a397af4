"""Where a server listens, and who is at the other end."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import h2.events
import pytest

import hrpc
from hrpc.errors import OptionError, PortTaken, StartError
from tests.authority import Authority
from tests.echo import Gate, call
from tests.engine.conformance.conftest import Engine
from tests.engine.conformance.hostile_client import connected
from tests.eventually import eventually


async def peer(_: bytes, call: Any) -> bytes:
    return call.peer().encode()  # type: ignore[no-any-return]


async def test_the_peer_of_a_unary_call_is_written_as_grpcio_writes_it(engine: Engine) -> None:
    server = engine.server(hrpc.with_listen_port(0, host="::"), Peer=peer)
    async with server:
        for host, expected in (("127.0.0.1", r"ipv4:127\.0\.0\.1:\d+"), ("[::1]", r"ipv6:%5B::1%5D:\d+")):
            async with grpc.aio.insecure_channel(f"{host}:{server.port}") as channel:
                assert re.fullmatch(expected, (await call(channel, "Peer")).decode())


async def test_a_connection_without_tls_has_no_identity(engine: Engine) -> None:
    seen: list[Any] = []

    async def look(_: bytes, call: Any) -> bytes:
        seen.append((dict(call.auth_context()), call.peer_identities(), call.peer_identity_key()))
        return b""

    async with engine.server(Look=look) as server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Look")
    insecure = {"transport_security_type": [b"insecure"], "security_level": [b"TSI_SECURITY_NONE"]}
    assert seen == [(insecure, None, None)]


async def test_a_call_that_has_ended_knows_its_peer_and_refuses_what_the_engine_has_released(engine: Engine) -> None:
    kept: list[Any] = []
    ended = asyncio.Event()

    async def keep(_: bytes, call: Any) -> bytes:
        kept.append(call)
        call.add_done_callback(kept.append)
        call.add_done_callback(lambda _: ended.set())
        return await peer(_, call)

    async with engine.server(Keep=keep) as server, grpc.aio.insecure_channel(server.address) as channel:
        told = await call(channel, "Keep")
        await ended.wait()
        over, done = kept
        assert done is over
        assert over.peer().encode() == told
        for name in ("auth_context", "peer_identities", "peer_identity_key"):
            with pytest.raises(grpc.aio.UsageError, match=rf"context.{name}: /\S+/Keep has ended"):
                getattr(over, name)()
        with pytest.raises(grpc.aio.UsageError, match="has ended"):
            await over.abort(grpc.StatusCode.INTERNAL, "too late")


async def test_tls_and_the_identity_of_a_client_are_there_or_refused_by_name(engine: Engine, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    public, private = authority.write(tmp_path / "server", "localhost")
    certs = hrpc.with_server_certs(public, private, client_ca=authority.path)
    if engine.kind == "native":
        with pytest.raises(OptionError, match=r"hrpc.with_server_certs does not go with the native engine"):
            engine.server(certs)
        return
    seen: list[Any] = []

    async def look(_: bytes, call: Any) -> bytes:
        seen.append((list(call.peer_identities()), call.auth_context()["transport_security_type"]))
        return b""

    certificate, key = authority.sign("client.test")
    credentials = grpc.ssl_channel_credentials(authority.pem, key, certificate)
    async with (
        engine.server(certs, Look=look) as server,
        grpc.aio.secure_channel(server.address, credentials) as channel,
    ):
        await call(channel, "Look")
    identities, security = seen[0]
    assert b"client.test" in identities
    assert security == [b"ssl"]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
async def test_port_0_is_a_free_one_on_every_kind_of_interface(engine: Engine, host: str) -> None:
    async with engine.server(hrpc.with_listen_port(0, host=host)) as server:
        assert server.port > 0
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo") == b"x"


async def test_a_port_in_use_is_named_with_the_option_to_change(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port} is in use .*hrpc.with_listen_port") as caught:
            async with engine.server(hrpc.with_listen_port(port, host="127.0.0.1")):
                raise AssertionError("it must not start")
        assert isinstance(caught.value.__cause__, PortTaken)


async def test_two_servers_never_share_a_port(engine: Engine) -> None:
    async def second(port: int) -> None:
        async with engine.server(hrpc.with_listen_port(port, host="127.0.0.1")):
            raise AssertionError("it must not start")

    async with engine.server() as server:
        with pytest.raises(StartError, match=f"127.0.0.1:{server.port} is in use"):
            await asyncio.to_thread(lambda: asyncio.run(second(server.port)))
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo") == b"x"


async def test_the_port_is_free_again_when_the_server_has_stopped(engine: Engine) -> None:
    async with engine.server() as server:
        port = server.port
        async with grpc.aio.insecure_channel(server.address) as channel:
            await call(channel, "Echo")
    for _ in range(3):
        async with engine.server(hrpc.with_listen_port(port, host="127.0.0.1")) as server:
            async with grpc.aio.insecure_channel(server.address) as channel:
                assert await call(channel, "Echo") == b"x"


async def test_hundreds_of_connections_are_served_at_once(engine: Engine) -> None:
    # Without a pool of its own, each channel would share the connections of the others.
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with engine.server() as server:
        channels = [grpc.aio.insecure_channel(server.address, own) for _ in range(200)]
        assert await asyncio.gather(*(call(channel, "Echo") for channel in channels)) == [b"x"] * 200
        await asyncio.gather(*(channel.close() for channel in channels))


async def test_a_connection_may_carry_no_more_calls_than_it_is_allowed(engine: Engine) -> None:
    gate = Gate()
    async with engine.server(hrpc.with_max_streams(2), gate=gate) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            running = [asyncio.ensure_future(call(channel, "Hold", b"%d" % n)) for n in range(2)]
            assert server._running is not None
            calls = server._running.parts.calls

            async def two_run() -> bool:
                return calls.in_flight == 2

            await eventually(two_run)
            waiting = [asyncio.ensure_future(call(channel, "Echo", timeout=0.2)) for _ in range(4)]
            for ended in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(ended, grpc.aio.AioRpcError)
                assert ended.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            gate.opened.set()
            assert await asyncio.gather(*running) == [b"0", b"1"]


async def test_a_client_that_does_not_answer_a_ping_is_given_up(engine: Engine) -> None:
    cancelled = asyncio.Event()

    async def wait(_: bytes, __: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with engine.server(hrpc.with_keepalive(time=0.5, timeout=0.5), Wait=wait) as server:
        async with connected(server.address) as dead:
            dead.call("Wait")
            await dead.flush()
            await asyncio.wait_for(cancelled.wait(), 10)


async def test_an_idle_connection_that_answers_pings_lives(engine: Engine) -> None:
    async with engine.server(hrpc.with_keepalive(time=0.1, timeout=20)) as server, connected(server.address) as idle:
        pings = 0
        async with asyncio.timeout(20):
            while pings < 3:
                for event in await idle.events():
                    pings += isinstance(event, h2.events.PingReceived)
                await idle.flush()
        idle.call("Echo")
        await idle.flush()
        events = await idle.events()
        while not any(isinstance(event, h2.events.TrailersReceived) for event in events):
            events = await idle.events()
            assert events, "it was closed"
