"""An error that a handler raises for its caller is the one that the caller catches, whatever lies between."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2, wrappers_pb2

import hrpc
from hrpc import errors
from hrpc.errors import CallError, Hop
from hrpc.errors import call as call_errors
from hrpc.rpc.upstream_error import STATUS_DETAILS
from tests.elsewhere import elsewhere
from tests.rpc.raising import KINDS, OutOfStock, ShopError, a_server, answer, from_a_cause, raising_server, taken


class FarTooFew(OutOfStock):
    """Without a code of its own."""


class Closed(ShopError, code=2001, grpc_code=grpc.StatusCode.ABORTED):
    """Not made from a message."""

    def __init__(self, hours: int) -> None:
        super().__init__(f"opens in {hours} hours")


SHAPES: dict[str, Callable[[], BaseException]] = {
    "default message": OutOfStock,
    "own message": lambda: OutOfStock("only 3 left"),
    "from a cause": from_a_cause,
    "details": lambda: OutOfStock(details=[wrappers_pb2.Int32Value(value=3), wrappers_pb2.StringValue(value="red")]),
    "retry": lambda: errors.Overloaded(retry_after=1.5),
    "violations": lambda: errors.Validation(violations={"name": "is empty", "age": "is negative"}),
    "built in": lambda: errors.NotFound("no order 17"),
    "derived without a code": lambda: FarTooFew("none"),
    "made otherwise": lambda: Closed(3),
    "out of a task group": lambda: ExceptionGroup("unhandled", [OutOfStock(), ExceptionGroup("x", [OutOfStock()])]),
    "any text": lambda: OutOfStock("50 % — “größer”\n\x00 \U0001f600"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_caller_catches_what_the_handler_has_raised(kind: str) -> None:
    shape = ""
    async with raising_server(lambda: SHAPES[shape]()) as server:
        for shape, make in SHAPES.items():
            for suffix in ("", "_in_thread"):
                made: Any = make()
                made = made.exceptions[0] if isinstance(made, ExceptionGroup) else made
                expected = OutOfStock if type(made) is FarTooFew else type(made)
                with pytest.raises(expected) as caught:
                    await answer(server.address, kind, suffix)
                error = caught.value
                assert type(error) is expected, shape
                assert error == made
                for field in ("message", "name", "error_details", "retry_after", "violations"):
                    assert getattr(error, field) == getattr(made, field), (shape, field)
                assert (error.code(), error.details()) == (made.grpc_code, made.message)
                assert error.time is not None
                assert abs((error.time - datetime.now(UTC)).total_seconds()) < 60
                assert re.fullmatch(r"[0-9a-f-]{36}", error.id)
                assert error.source_error == ""


async def test_an_error_that_the_caller_does_not_know_keeps_all_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(call_errors._classes, ("TESTSHOP", 2000))
    make = lambda: OutOfStock("only 3 left", retry_after=2, violations={"count": "too many"})  # noqa: E731
    async with raising_server(make) as server:
        with pytest.raises(CallError) as caught:
            await answer(server.address)
    error = caught.value
    assert type(error) is CallError
    assert str(error) == "(OutOfStock | TESTSHOP | 2000) only 3 left"
    assert error == OutOfStock()
    assert (error.code(), error.retry_after, error.violations) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        2,
        {"count": "too many"},
    )


async def test_details_of_a_type_that_the_caller_does_not_know_stay_packed() -> None:
    unknown = any_pb2.Any(type_url="type.googleapis.com/nowhere.Nothing", value=b"\x08\x01")
    async with raising_server(lambda: OutOfStock(details=[unknown])) as server:
        with pytest.raises(OutOfStock) as caught:
            await answer(server.address)
    (detail,) = caught.value.error_details
    assert (detail.type_url, detail.value) == (unknown.type_url, unknown.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_that_a_handler_lets_pass_is_the_same_for_its_own_caller(kind: str) -> None:
    shape = ""

    async with elsewhere(lambda: raising_server(lambda: SHAPES[shape]())) as address:

        async def one(request: Any, _: Any) -> bytes:
            await taken(request)
            return bytes(await answer(address, kind))

        async def many(request: Any, call: Any) -> Any:
            yield await one(request, call)

        async with a_server("orders", one=one, many=many) as server:
            for shape, make in SHAPES.items():
                made: Any = make()
                made = made.exceptions[0] if isinstance(made, ExceptionGroup) else made
                with pytest.raises(CallError) as caught:
                    await answer(server.address, kind)
                assert caught.value == made
                for field in ("message", "name", "error_details", "retry_after", "violations"):
                    assert getattr(caught.value, field) == getattr(made, field), (shape, field)
                assert (caught.value.code(), caught.value.details()) == (made.grpc_code, made.message)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_shows_every_service_that_it_has_come_through(kind: str) -> None:
    def shop() -> hrpc.Server:
        return raising_server(lambda: OutOfStock("only 3 left"), name="shop")

    async with elsewhere(shop) as shop_address:

        def orders() -> hrpc.Server:
            async def one(request: Any, _: Any) -> bytes:
                await taken(request)
                try:
                    return await answer(shop_address, kind)
                except OutOfStock as error:
                    error.add_note("while reserving")
                    raise

            async def many(request: Any, call: Any) -> Any:
                yield await one(request, call)

            return a_server("orders", one=one, many=many)

        async with elsewhere(orders) as orders_address:
            seen: list[OutOfStock] = []

            async def front(_: Any, __: Any) -> bytes:
                try:
                    await answer(orders_address, kind)
                except OutOfStock as error:
                    seen.append(error)
                    raise
                return b""

            async with a_server("front", one=front) as server:
                with pytest.raises(OutOfStock, match="only 3 left") as caught:
                    await answer(server.address)
                # the test runs in the event loop of this server, too
                assert [hop.app_name for hop in caught.value.trace] == ["shop", "orders", "front", "front"]
    host = socket.gethostname()
    first, second, own = seen[0].trace
    assert first == Hop("shop", host)
    assert second == Hop("orders", host, additional_context="while reserving")
    assert own == Hop("front", host)
    assert caught.value.id == seen[0].id
    assert caught.value.time == seen[0].time


async def test_metadata_that_the_handler_has_set_goes_along() -> None:
    async def one(_: bytes, call: Any) -> bytes:
        call.set_trailing_metadata((("left", "3"), (STATUS_DETAILS, b"mine")))
        raise OutOfStock

    async with a_server("shop", one=one) as server:
        with pytest.raises(OutOfStock) as caught:
            await answer(server.address)
    metadata = caught.value.trailing_metadata()
    assert metadata is not None
    assert metadata["left"] == "3"


async def test_a_handler_that_aborts_and_then_raises_has_aborted() -> None:
    async def one(_: bytes, call: Any) -> bytes:
        try:
            await call.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one")
        finally:
            raise OutOfStock

    async with a_server("shop", one=one) as server:
        with pytest.raises(grpc.aio.AioRpcError, match="there is one") as caught:
            await answer(server.address)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_an_error_raised_from_a_task_of_the_handler_arrives() -> None:
    async def fail() -> None:
        raise OutOfStock("in a task")

    async def one(_: bytes, __: Any) -> bytes:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
        return b""

    async with a_server("shop", one=one) as server:
        with pytest.raises(OutOfStock, match="in a task"):
            await answer(server.address)
