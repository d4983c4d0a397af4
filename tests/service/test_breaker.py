"""A service that fails is not called any more, until it answers again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import errors, service
from hrpc.consul import Client
from hrpc.testing.servers import ConsulServer
from tests.clock import Clock
from tests.echo import SERVICE, add_echo, call
from tests.service.peers import called, caller, entry


class Moody:
    """A method that fails when it is told to, and counts its calls."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = grpc.StatusCode.INTERNAL
        self.calls = 0

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        if self.code is not None:
            await context.abort(self.code, "a bad day")
        return request


def at(clock: Clock, server: hrpc.Server) -> None:
    """Lets the breakers of a server go by this clock."""
    assert server._running is not None
    assert server._running.parts.breakers is not None
    server._running.parts.breakers._clock = clock


async def fails(channel: grpc.aio.Channel, code: grpc.StatusCode, times: int = 1, method: str = "Moody") -> None:
    for _ in range(times):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, method)
        assert caught.value.code() is code
        assert not isinstance(caught.value, errors.BreakerOpen)


async def is_not_called(channel: grpc.aio.Channel, method: str = "Moody") -> errors.BreakerOpen:
    with pytest.raises(errors.BreakerOpen) as caught:
        await call(channel, method)
    return caught.value


async def test_a_service_that_fails_is_left_alone_and_tried_again_after_a_while(
    consul: ConsulServer, registry: Client
) -> None:
    moody, clock = Moody(), Clock()
    breaker = hrpc.with_circuit_breaker(calls=5, open_for=30.0, probes=2)
    async with caller(consul, breaker, hrpc.with_metrics(0)) as server, called(b"a", Moody=moody.answer) as port:
        at(clock, server)
        async with registry.registered(entry("moody", 1, port)), service.channel("moody") as channel:
            await fails(channel, grpc.StatusCode.INTERNAL, times=5)
            error = await is_not_called(channel, "Name")
            assert error.name == f"moody {SERVICE}"
            assert 30 <= error.retry_after <= 37.5
            assert moody.calls == 5
            assert await measured(server) == [
                f'hrpc_breaker_open{{scope="{SERVICE}",service="moody"}} 1.0',
                f'hrpc_breaker_refused_total{{scope="{SERVICE}",service="moody"}} 1.0',
            ]
            clock.now += 40
            await fails(channel, grpc.StatusCode.INTERNAL)
            await is_not_called(channel)
            moody.code = None
            clock.now += 40
            assert [await call(channel, "Moody") for _ in range(10)] == [b"x"] * 10
            assert (await measured(server))[0].endswith(" 0.0")


async def measured(server: hrpc.Server) -> list[str]:
    url = f"http://127.0.0.1:{server.metrics_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return [line for line in (await answer.text()).splitlines() if line.startswith("hrpc_breaker")]


async def test_streams_count_by_how_they_end(consul: ConsulServer, registry: Client) -> None:
    async def breaks(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        await context.abort(grpc.StatusCode.DATA_LOSS, "a bad day")

    breaker = hrpc.with_circuit_breaker(calls=3, failures=0.75)
    async with caller(consul, breaker), serving_streams(breaks) as port:
        async with registry.registered(entry("streams", 1, port)), service.channel("streams") as channel:
            stream = channel.unary_stream(f"/{SERVICE}/Breaks")
            for _number in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    async for _response in stream(b"a"):
                        pass
                assert caught.value.code() is grpc.StatusCode.DATA_LOSS
            with pytest.raises(errors.BreakerOpen):
                async for _response in stream(b"a"):
                    pass
            with pytest.raises(errors.BreakerOpen):
                await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a"]))


@asynccontextmanager
async def serving_streams(breaks: Any) -> AsyncIterator[int]:
    server = grpc.aio.server()
    handlers = {"Breaks": grpc.unary_stream_rpc_method_handler(breaks)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_calls_that_their_caller_gives_up_leave_it_closed(consul: ConsulServer, registry: Client) -> None:
    async def waits(_: bytes, context: Any) -> bytes:
        entered.release()
        await asyncio.Event().wait()
        return b""

    entered = asyncio.Semaphore(0)
    breaker = hrpc.with_circuit_breaker(calls=3)
    async with caller(consul, breaker), called(b"a", Waits=waits) as port:
        async with registry.registered(entry("slow", 1, port)), service.channel("slow") as channel:
            for _number in range(5):
                waiting = call(channel, "Waits")
                await entered.acquire()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert await call(channel, "Name") == b"a"
            for _number in range(3):
                with pytest.raises(grpc.aio.AioRpcError):
                    await call(channel, "Waits", timeout=0.05)
            await is_not_called(channel)


async def test_a_handler_that_calls_over_a_channel_of_its_own_has_a_breaker_for_each_method() -> None:
    moody, asked = Moody(), []

    async def ask(request: bytes, _: Any) -> bytes:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=hrpc.client_interceptors()) as channel:
            await fails(channel, grpc.StatusCode.INTERNAL, times=4)
            asked.append(await is_not_called(channel))
            with pytest.raises(errors.BreakerOpen):
                await channel.unary_stream(f"/{SERVICE}/Moody")(b"").read()
            response: bytes = await call(channel, "Name")
            return response

    options = (hrpc.with_server_name("asking"), hrpc.with_listen_port(0, host="127.0.0.1"))
    server = hrpc.new_server(*options, hrpc.with_circuit_breaker(calls=4, per="method"))
    add_echo(server, Ask=ask)
    async with called(b"a", Moody=moody.answer) as port, server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Ask") == b"a"
    assert asked[0].name == f"{SERVICE}/Moody"
    assert moody.calls == 4


async def test_a_handler_that_could_not_call_answers_unavailable() -> None:
    async def ask(_: bytes, __: Any) -> bytes:
        raise errors.BreakerOpen("moody", 3.0)

    server = hrpc.new_server(hrpc.with_server_name("asking"), hrpc.with_listen_port(0, host="127.0.0.1"))
    add_echo(server, Ask=ask)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Ask")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "moody" not in (caught.value.details() or "")
