"""Messages up to the limit, over it, and compressed."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from tests.echo import SERVICE, call
from tests.engine.conformance.conftest import Engine

LIMIT = 100_000
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


async def grow(request: bytes, _: Any) -> bytes:
    return request * 2


@pytest.fixture
def limited(engine: Engine) -> hrpc.Server:
    """A server with a limit of its own."""
    return engine.server(hrpc.with_message_limits(receive=LIMIT, send=LIMIT), Grow=grow)


async def code(running: Any) -> grpc.StatusCode:
    """How a call ended."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running
    return caught.value.code()


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "gzip"])
async def test_a_request_over_the_limit_is_refused_and_one_at_the_limit_is_not(
    limited: hrpc.Server, compression: grpc.Compression | None
) -> None:
    async with limited, grpc.aio.insecure_channel(limited.address, UNLIMITED, compression) as channel:
        assert await call(channel, "Echo", b"x" * LIMIT) == b"x" * LIMIT
        assert await code(call(channel, "Echo", b"x" * (LIMIT + 1))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        join = channel.stream_unary(f"/{SERVICE}/Join")
        assert await join(iter([b"x" * (LIMIT // 2)] * 2)) == b"x" * LIMIT
        assert await code(join(iter([b"x" * (LIMIT + 1)]))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(channel, "Echo", b"x") == b"x"


async def test_a_response_over_the_limit_is_refused(limited: hrpc.Server) -> None:
    async with limited, grpc.aio.insecure_channel(limited.address, UNLIMITED) as channel:
        assert await call(channel, "Grow", b"x" * (LIMIT // 2)) == b"x" * LIMIT
        assert await code(call(channel, "Grow", b"x" * (LIMIT // 2 + 1))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(channel, "Echo", b"x") == b"x"


async def test_the_limit_is_4_mib_when_none_is_given(engine: Engine) -> None:
    limit = 4 * 1024 * 1024
    async with engine.server() as server, grpc.aio.insecure_channel(server.address, UNLIMITED) as channel:
        assert len(await call(channel, "Echo", b"x" * limit)) == limit
        assert await code(call(channel, "Echo", b"x" * (limit + 1))) is grpc.StatusCode.RESOURCE_EXHAUSTED


COMPRESSES_WELL = b"compresses well " * 1000


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
async def test_compressed_requests_are_read_in_every_kind_of_call(
    engine: Engine, compression: grpc.Compression
) -> None:
    message = COMPRESSES_WELL
    async with engine.server() as server:
        async with grpc.aio.insecure_channel(server.address, compression=compression) as channel:
            if engine.kind == "native" and compression is grpc.Compression.Deflate:
                assert await code(call(channel, "Echo", message)) is grpc.StatusCode.UNIMPLEMENTED
            else:
                assert await call(channel, "Echo", message) == message
            assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([message] * 3)) == message * 3


async def test_a_handler_may_ask_for_compression_and_is_answered(engine: Engine) -> None:
    async def compresses(request: bytes, call: Any) -> bytes:
        call.set_compression(grpc.Compression.Gzip)
        call.disable_next_message_compression()
        return request

    async with engine.server(Compress=compresses) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Compress", b"a" * 1000) == b"a" * 1000
