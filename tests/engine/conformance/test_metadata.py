"""Metadata in both directions, of every kind."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

from tests.echo import call
from tests.engine.conformance.conftest import Engine

EVERY_KIND = (
    ("ascii", "some text"),
    ("with-dots.and_underscores", "1"),
    ("repeated", "1"),
    ("repeated", "2"),
    ("repeated", "1"),
    ("bytes-bin", bytes(range(256))),
    ("bytes-bin", b""),
    ("empty", ""),
)


def sent(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """What of this metadata is ours."""
    ours = {key for key, _ in EVERY_KIND}
    return tuple((key, value) for key, value in metadata if key in ours)


async def test_a_handler_sees_every_kind_of_metadata_in_the_order_of_each_key(engine: Engine) -> None:
    seen: list[Any] = []

    async def look(_: bytes, call: Any) -> bytes:
        seen.append(call.invocation_metadata())
        return b""

    async with engine.server(Look=look) as server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Look", metadata=EVERY_KIND)
    assert sorted(sent(seen[0]), key=str) == sorted(EVERY_KIND, key=str)
    assert [value for key, value in seen[0] if key == "repeated"] == ["1", "2", "1"]
    assert {item.key for item in seen[0]} >= {"ascii", "user-agent"}
    assert isinstance(seen[0], tuple)


async def test_a_client_sees_initial_and_trailing_metadata_of_a_call_that_succeeds(engine: Engine) -> None:
    async def tells(_: bytes, call: Any) -> bytes:
        await call.send_initial_metadata((*EVERY_KIND, ("where", "initial")))
        call.set_trailing_metadata((*EVERY_KIND, ("where", "trailing")))
        return b"ok"

    async with engine.server(Tell=tells) as server, grpc.aio.insecure_channel(server.address) as channel:
        running = call(channel, "Tell")
        assert await running == b"ok"
        for metadata, where in (
            (await running.initial_metadata(), "initial"),
            (await running.trailing_metadata(), "trailing"),
        ):
            assert sorted(sent(metadata), key=str) == sorted(EVERY_KIND, key=str)
            assert metadata["where"] == where


async def test_a_client_sees_trailing_metadata_of_a_call_that_fails(engine: Engine) -> None:
    async def aborts(_: bytes, call: Any) -> None:
        await call.abort(grpc.StatusCode.NOT_FOUND, "", EVERY_KIND)

    async def sets_and_aborts(_: bytes, call: Any) -> None:
        call.set_trailing_metadata(EVERY_KIND)
        await call.abort(grpc.StatusCode.NOT_FOUND, "")

    async with engine.server(Abort=aborts, Set=sets_and_aborts) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            for method in ("Abort", "Set"):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(channel, method)
                assert sorted(sent(caught.value.trailing_metadata()), key=str) == sorted(EVERY_KIND, key=str)


async def test_streams_carry_metadata_both_ways(engine: Engine) -> None:
    seen: list[Any] = []

    async def tells(_: bytes, call: Any) -> Any:
        seen.append(call.invocation_metadata())
        await call.send_initial_metadata(EVERY_KIND)
        yield b"1"
        call.set_trailing_metadata(EVERY_KIND)

    server = engine.server()
    server.add_registered_method_handlers("test.Tell", {"Tell": grpc.unary_stream_rpc_method_handler(tells)})
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        running = channel.unary_stream("/test.Tell/Tell")(b"", metadata=EVERY_KIND)
        assert [part async for part in running] == [b"1"]
        for metadata in (seen[0], await running.initial_metadata(), await running.trailing_metadata()):
            assert sorted(sent(metadata), key=str) == sorted(EVERY_KIND, key=str)


@pytest.mark.parametrize(
    "metadata",
    [
        [("Upper", "x")],
        [("a", "line\nbreak")],
        [("a", "ü")],
        [("", "x")],
        [("a b", "x")],
        [("text-bin", "not bytes")],
        [("grpc-of-mine", "kept for gRPC")],
        [("a", 1)],
        [("a",)],
        5,
    ],
    ids=repr,
)
async def test_metadata_that_cannot_be_sent_answers_internal(engine: Engine, metadata: Any) -> None:
    async def trailing(_: bytes, call: Any) -> bytes:
        call.set_trailing_metadata(metadata)
        return b""

    async def initial(_: bytes, call: Any) -> bytes:
        await call.send_initial_metadata(metadata)
        return b""

    async def abort(_: bytes, call: Any) -> None:
        await call.abort(grpc.StatusCode.NOT_FOUND, "", metadata)

    async with engine.server(Trailing=trailing, Initial=initial, Abort=abort) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            for method in ("Trailing", "Initial", "Abort"):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(channel, method, timeout=30)
                assert caught.value.code() is grpc.StatusCode.INTERNAL, method
            assert await call(channel, "Echo") == b"x"


async def test_bytes_for_a_key_of_text_arrive_as_text(engine: Engine) -> None:
    async def tells(_: bytes, call: Any) -> bytes:
        call.set_trailing_metadata((("ascii", b"text"),))
        return b""

    async with engine.server(Tell=tells) as server, grpc.aio.insecure_channel(server.address) as channel:
        running = call(channel, "Tell")
        await running
        assert (await running.trailing_metadata())["ascii"] == "text"


@pytest.mark.parametrize("size", [20_000, 100_000])
async def test_metadata_over_the_limit_is_refused_and_the_next_call_is_served(engine: Engine, size: int) -> None:
    # The native engine answers HTTP 431, and closes a connection that sends several times the limit.
    native = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}
    codes = native if engine.kind == "native" else {grpc.StatusCode.RESOURCE_EXHAUSTED}
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Echo", metadata=(("big", "x" * size),), timeout=30)
        assert caught.value.code() in codes
        assert await call(channel, "Echo", metadata=(("big", "x" * 4_000),), wait_for_ready=True, timeout=30) == b"x"
