"""How a call ends: the status, its text, and what the handler did to get there."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from tests.echo import call
from tests.engine.conformance.conftest import Engine

NOT_OK = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


async def failure(server: hrpc.Server, method: str, request: bytes = b"x") -> grpc.aio.AioRpcError:
    """How a call fails; a call that is not answered fails the test."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, method, request, timeout=30)
        return caught.value


@pytest.mark.parametrize("code", NOT_OK, ids=lambda code: code.name)
async def test_every_code_arrives_with_its_text_by_abort_and_by_set_code(engine: Engine, code: grpc.StatusCode) -> None:
    async def aborts(_: bytes, call: Any) -> bytes:
        await call.abort(code, "why")
        raise AssertionError

    async def sets(_: bytes, call: Any) -> bytes:
        call.set_code(code)
        call.set_details("why")
        return b"dropped"

    async with engine.server(Abort=aborts, Set=sets) as server:
        for method in ("Abort", "Set"):
            error = await failure(server, method)
            assert (error.code(), error.details()) == (code, "why")


@pytest.mark.parametrize("details", ["", "näive ☃", "100 %", "two\nlines\t", "x" * 4000])
async def test_the_text_of_a_status_arrives_letter_by_letter(engine: Engine, details: str) -> None:
    async def aborts(_: bytes, call: Any) -> None:
        await call.abort(grpc.StatusCode.NOT_FOUND, details)

    async with engine.server(Abort=aborts) as server:
        assert (await failure(server, "Abort")).details() == details


async def test_a_stream_that_aborts_ends_with_that_status_after_what_was_sent(engine: Engine) -> None:
    async def two(_: bytes, call: Any) -> Any:
        yield b"1"
        yield b"2"
        await call.abort(grpc.StatusCode.DATA_LOSS, "no third")

    server = engine.server()
    server.add_registered_method_handlers("test.Two", {"Two": grpc.unary_stream_rpc_method_handler(two)})
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        parts = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for part in channel.unary_stream("/test.Two/Two")(b""):
                parts.append(part)
        assert parts == [b"1", b"2"]
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "no third")


async def test_an_abort_answers_at_once_even_if_the_handler_goes_on(engine: Engine) -> None:
    released = asyncio.Event()

    async def lingers(_: bytes, call: Any) -> bytes:
        try:
            await call.abort(grpc.StatusCode.ABORTED, "at once")
        finally:
            await released.wait()
        return b""

    async with engine.server(Linger=lingers) as server:
        assert (await failure(server, "Linger")).details() == "at once"
        released.set()


async def test_an_abort_that_the_handler_swallows_is_still_the_answer(engine: Engine) -> None:
    async def swallows(_: bytes, call: Any) -> bytes:
        try:
            await call.abort(grpc.StatusCode.ABORTED, "swallowed")
        except grpc.aio.AbortError:
            return b"late"
        raise AssertionError

    async with engine.server(Swallow=swallows) as server:
        error = await failure(server, "Swallow")
        assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "swallowed")


async def test_a_code_given_as_a_number_is_that_code(engine: Engine) -> None:
    async def sets(_: bytes, call: Any) -> bytes:
        call.set_code(5)
        call.set_details("by number")
        return b""

    async def aborts(_: bytes, call: Any) -> None:
        await call.abort(5, "by number")

    async with engine.server(Set=sets, Abort=aborts) as server:
        for method in ("Set", "Abort"):
            error = await failure(server, method)
            assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "by number")


async def raises(_: bytes, __: Any) -> bytes:
    raise ValueError("password=s3cret")


async def exits(_: bytes, __: Any) -> bytes:
    raise SystemExit(3)


async def interrupted(_: bytes, __: Any) -> bytes:
    raise KeyboardInterrupt


async def stray_cancel(_: bytes, __: Any) -> bytes:
    raise asyncio.CancelledError


async def aborts_with_ok(_: bytes, call: Any) -> bytes:
    await call.abort(grpc.StatusCode.OK, "fine")
    return b""


@pytest.mark.parametrize("method", [raises, exits, interrupted, stray_cancel, aborts_with_ok])
async def test_a_handler_that_fails_in_any_way_answers_internal_and_the_server_goes_on(
    engine: Engine, method: Any
) -> None:
    async with engine.server(Fail=method) as server:
        error = await failure(server, "Fail")
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "s3cret" not in (error.details() or "")
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo") == b"x"


async def test_the_details_of_a_rich_status_arrive_byte_by_byte(engine: Engine) -> None:
    rich = bytes(range(256)) * 4

    async def aborts(_: bytes, call: Any) -> None:
        await call.abort(grpc.StatusCode.NOT_FOUND, "rich", (("grpc-status-details-bin", rich),))

    async with engine.server(Abort=aborts) as server:
        assert ("grpc-status-details-bin", rich) in tuple((await failure(server, "Abort")).trailing_metadata())
