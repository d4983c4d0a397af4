"""A handler that returns nothing has not found it, where the option says so."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import errors
from tests.rpc.raising import SERVICE, a_server, answer, taken


async def nothing(request: Any, _: Any) -> None:
    await taken(request)


def nothing_in_thread(request: Any, _: Any) -> None:
    list(request)


async def nothing_many(request: Any, _: Any) -> Any:
    await taken(request)
    for response in ():
        yield response


@pytest.mark.parametrize("kind", ["unary_unary", "stream_unary"])
@pytest.mark.parametrize("suffix", ["", "_in_thread"])
async def test_nothing_is_not_found_where_the_option_says_so(kind: str, suffix: str) -> None:
    server = a_server("shop", hrpc.with_not_found(), one=nothing, one_in_thread=nothing_in_thread)
    async with server:
        with pytest.raises(errors.NotFound):
            await answer(server.address, kind, suffix)


async def test_an_empty_stream_is_found() -> None:
    async with a_server("shop", hrpc.with_not_found(), many=nothing_many) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert [part async for part in channel.unary_stream(f"/{SERVICE}/unary_stream")(b"")] == []


async def test_a_status_that_was_set_with_nothing_stays_as_it_is() -> None:
    async def one(_: bytes, call: Any) -> None:
        call.set_code(grpc.StatusCode.DATA_LOSS)
        call.set_details("it is gone")

    async with a_server("shop", hrpc.with_not_found(), one=one) as server:
        with pytest.raises(grpc.aio.AioRpcError, match="it is gone") as caught:
            await answer(server.address)
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS


async def test_something_that_is_empty_is_found() -> None:
    async def one(_: bytes, __: Any) -> bytes:
        return b""

    async with a_server("shop", hrpc.with_not_found(), one=one) as server:
        assert await answer(server.address) == b""
