"""A call that failed is made again where that is safe, at another instance, and not too often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import errors
from hrpc.status import RETRY_PUSHBACK
from tests.echo import SERVICE, add_echo, call
from tests.service.calls.fleet import fleet
from tests.service.calls.servers import bare
from tests.service.peers import called

IDEMPOTENT = hrpc.with_retry(idempotent=(SERVICE,))


class Failing:
    """A method that fails so many times, then answers."""

    def __init__(self, times: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, **abort: Any) -> None:
        self.left = times
        self.calls = 0
        self._code = code
        self._abort = abort

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        self.left -= 1
        if self.left >= 0:
            await context.abort(self._code, "a bad day", **self._abort)
        return request

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await self.answer(request, context)


async def test_calls_to_an_instance_that_cannot_be_connected_to_go_to_another_one(free_port: int) -> None:
    async with called(b"a") as port, fleet((free_port, port)) as found:
        channel = found.channel
        assert [await call(channel, "Name") for _ in range(20)] == [b"a"] * 20
        for _ in range(5):
            assert [part async for part in channel.unary_stream(f"/{SERVICE}/Repeat")(b"x")] == [b"x"] * 3
            assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])) == b"ab"
            assert [part async for part in channel.stream_stream(f"/{SERVICE}/Each")(iter([b"a", b"b"]))] == [
                b"a",
                b"b",
            ]
        assert found.counts["retries"] >= 1
        assert found.counts["calls"] == 35
        assert found.counts["attempts"] == 35 + found.counts["retries"]


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_the_first_call_to_an_instance_that_is_away_is_made_again_whatever_its_kind(
    free_port: int, kind: str
) -> None:
    methods = {"unary_unary": "Name", "unary_stream": "Repeat", "stream_unary": "Join", "stream_stream": "Each"}
    async with called(b"a") as port:
        for ports in ((free_port, port), (port, free_port)):
            async with fleet(ports) as found:
                method = getattr(found.channel, kind)(f"/{SERVICE}/{methods[kind]}")
                for _ in range(2):
                    made = method(requests() if kind.startswith("stream") else b"x")
                    if kind.endswith("_stream"):
                        assert [part async for part in made] == ([b"x"] * 3 if kind == "unary_stream" else [b"a", b"b"])
                    else:
                        assert await made == (b"a" if kind == "unary_unary" else b"ab")
                    assert await made.code() is grpc.StatusCode.OK
                assert found.counts["retries"] == 1


async def requests() -> AsyncIterator[bytes]:
    for request in (b"a", b"b"):
        await asyncio.sleep(0)
        yield request


async def test_streams_that_are_written_to_go_to_another_instance_as_well(free_port: int) -> None:
    async with called(b"a") as port:
        for ports in ((free_port, port), (port, free_port)):
            async with fleet(ports) as found:
                for _ in range(2):
                    stream = found.channel.stream_stream(f"/{SERVICE}/Each")()
                    await stream.write(b"a")
                    assert await stream.read() == b"a"
                    await stream.write(b"b")
                    await stream.done_writing()
                    assert await stream.read() == b"b"
                    assert await stream.read() is grpc.aio.EOF
                    joined = found.channel.stream_unary(f"/{SERVICE}/Join")()
                    await joined.wait_for_connection()
                    await joined.write(b"a")
                    await joined.write(b"b")
                    await joined.done_writing()
                    assert await joined == b"ab"
                assert found.counts["retries"] >= 1


async def test_what_may_have_run_is_not_made_again() -> None:
    failing = Failing(1)
    async with called(b"a", Fails=failing.answer) as a, called(b"b", Fails=failing.answer) as b, fleet((a, b)) as found:
        with pytest.raises(grpc.aio.AioRpcError, match="a bad day") as caught:
            await call(found.channel, "Fails")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert failing.calls == 1


async def test_an_idempotent_method_is_called_again_at_another_instance() -> None:
    first, second = Failing(9), Failing(0)
    async with called(b"a", Fails=first.answer) as a, called(b"b", Fails=second.answer) as b:
        async with fleet((a, b), IDEMPOTENT) as found:
            assert [await call(found.channel, "Fails") for _ in range(3)] == [b"x"] * 3
            assert first.calls + second.calls == 3 + first.calls
            assert first.calls == found.counts["retries"] >= 1


async def test_attempts_end(free_port: int) -> None:
    failing = Failing(99)
    async with called(b"a", Fails=failing.answer) as port, fleet((port,), IDEMPOTENT) as found:
        with pytest.raises(grpc.aio.AioRpcError, match="a bad day"):
            await call(found.channel, "Fails")
        assert failing.calls == 3
    async with called(b"a", Fails=failing.answer) as port, fleet((port, free_port), hrpc.with_retry(1)) as found:
        failed = 0
        for _ in range(4):
            try:
                await call(found.channel, "Name")
            except grpc.aio.AioRpcError:
                failed += 1
        assert failed == 1
        assert found.counts["retries"] == 0


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED]
)
async def test_other_codes_are_told_at_once(code: grpc.StatusCode) -> None:
    failing = Failing(1, code)
    async with called(b"a", Fails=failing.answer) as port, fleet((port,), IDEMPOTENT) as found:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(found.channel, "Fails")
        assert caught.value.code() is code
        assert failing.calls == 1


async def test_a_server_that_says_when_to_come_again_is_asked_then() -> None:
    wait = ((RETRY_PUSHBACK, "200"),)
    failing = Failing(1, grpc.StatusCode.RESOURCE_EXHAUSTED, trailing_metadata=wait)
    loop = asyncio.get_running_loop()
    async with called(b"a", Fails=failing.answer) as port, fleet((port,), IDEMPOTENT) as found:
        began = loop.time()
        assert await call(found.channel, "Fails") == b"x"
        assert loop.time() - began >= 0.2


@pytest.mark.parametrize("asked", ["-1", "soon", "60000"])
async def test_a_server_that_wants_to_be_left_alone_is(asked: str) -> None:
    failing = Failing(1, trailing_metadata=((RETRY_PUSHBACK, asked),))
    async with called(b"a", Fails=failing.answer) as port, fleet((port,), IDEMPOTENT) as found:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(found.channel, "Fails")
        assert failing.calls == 1


async def test_no_attempt_begins_after_the_deadline() -> None:
    failing = Failing(9, trailing_metadata=((RETRY_PUSHBACK, "5000"),))
    loop = asyncio.get_running_loop()
    async with called(b"a", Fails=failing.answer) as port, fleet((port,), IDEMPOTENT) as found:
        began = loop.time()
        with pytest.raises(grpc.aio.AioRpcError, match="a bad day"):
            await call(found.channel, "Fails", timeout=4.5)
        assert loop.time() - began < 4.5
        assert failing.calls == 1


async def test_a_budget_keeps_retries_from_multiplying_the_load() -> None:
    failing = Failing(10**6)
    async with called(b"a", Fails=failing.answer) as port, fleet((port,), IDEMPOTENT) as found:
        loop = asyncio.get_running_loop()
        began = loop.time()
        calls = [call(found.channel, "Fails") for _ in range(300)]
        await asyncio.gather(*calls, return_exceptions=True)
        most = 10 + 300 * 0.2 + 10 * (loop.time() - began)
        assert 300 < failing.calls <= 300 + most + 1
    async with called(b"a", Fails=failing.answer) as port:
        async with fleet((port,), hrpc.with_retry(idempotent=(SERVICE,), budget=0)) as found:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(found.channel, "Fails")
            assert found.counts["retries"] == 0


async def test_a_stream_that_has_begun_is_not_begun_again() -> None:
    async def breaks(request: bytes, context: Any) -> AsyncIterator[bytes]:
        nonlocal begun
        begun += 1
        yield request
        await context.abort(grpc.StatusCode.UNAVAILABLE, "a bad day")

    begun = 0
    failing = Failing(1)
    async with serving_streams(Breaks=breaks, Fails=failing.stream) as port, fleet((port,), IDEMPOTENT) as found:
        got = []
        with pytest.raises(grpc.aio.AioRpcError, match="a bad day"):
            async for part in found.channel.unary_stream(f"/{SERVICE}/Breaks")(b"x"):
                got.append(part)
        assert (got, begun) == ([b"x"], 1)
        stream = found.channel.unary_stream(f"/{SERVICE}/Breaks")(b"x")
        assert await stream.read() == b"x"
        with pytest.raises(grpc.aio.AioRpcError, match="a bad day"):
            await stream.read()
        assert begun == 2
        assert [part async for part in found.channel.unary_stream(f"/{SERVICE}/Fails")(b"y")] == [b"y"]
        assert failing.calls == 2


def serving_streams(**methods: Any) -> Any:
    return bare({name: grpc.unary_stream_rpc_method_handler(method) for name, method in methods.items()})


async def test_errors_are_those_of_hrpc() -> None:
    """The error of a peer arrives as its class, also after a retry."""
    server = hrpc.new_server(hrpc.with_server_name("peer"), hrpc.with_listen_port(0, host="127.0.0.1"))

    async def away(_: bytes, __: Any) -> bytes:
        raise errors.Unavailable("closed for today")

    add_echo(server, Away=away)
    async with server, fleet((int(server.address.rpartition(":")[2]),), IDEMPOTENT) as found:
        with pytest.raises(errors.Unavailable, match="closed for today"):
            await call(found.channel, "Away")
        assert found.counts["retries"] == 2
