"""An error that a handler raises for its caller is the one that the caller catches, whatever lies between."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2, wrappers_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

import hrpc
from hrpc import errors
from hrpc.errors import CallError, Hop
from hrpc.errors import call as call_errors
from hrpc.option import ErrorSettings
from hrpc.rpc.error_details import ROOM, Encoder, decode, size_of
from hrpc.rpc.upstream_error import STATUS_DETAILS, error_of
from tests.elsewhere import elsewhere
from tests.rpc.raising import KINDS, SERVICE, a_server, answer, raising_server, taken


class ShopError(CallError, issuer="TESTSHOP"):
    """All errors of the shop."""


class OutOfStock(ShopError, code=2000, grpc_code=grpc.StatusCode.FAILED_PRECONDITION, message="out of stock"):
    """Fewer are left than were ordered."""


class FarTooFew(OutOfStock):
    """Without a code of its own."""


class Closed(ShopError, code=2001, grpc_code=grpc.StatusCode.ABORTED):
    """Not made from a message."""

    def __init__(self, hours: int) -> None:
        super().__init__(f"opens in {hours} hours")


def from_a_cause() -> CallError:
    error = OutOfStock()
    error.__cause__ = ValueError("password=s3cret")
    return error


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


@pytest.mark.parametrize(
    ("options", "visible"),
    [
        ((), {"host", "context"}),
        ((hrpc.with_environment("production"),), set()),
        ((hrpc.with_error_details(host=False, context=False),), set()),
        ((hrpc.with_error_details(stack=True, source=True),), {"host", "context", "stack", "source"}),
        (
            (
                hrpc.with_environment("production"),
                hrpc.with_error_details(host=True, stack=True, context=True, source=True),
            ),
            {"host", "context", "stack", "source"},
        ),
    ],
)
async def test_what_is_hidden_does_not_leave_also_what_came_from_others(
    options: tuple[hrpc.Option, ...], visible: set[str]
) -> None:
    def make() -> CallError:
        error = from_a_cause()
        error.trace = (Hop("before", "its-host", "its-stack", "its-context"),)
        error.add_note("my-context")
        return error

    async with raising_server(make, *options) as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICE}/unary_unary")(b"")
    metadata = caught.value.trailing_metadata()
    assert metadata is not None
    sent = str(list(metadata))
    words = {
        "host": ("its-host", socket.gethostname()),
        "context": ("its-context", "my-context"),
        "stack": ("its-stack", "raising.py"),
        "source": ("s3cret", "ValueError"),
    }
    assert {what for what, of_it in words.items() if any(word in sent for word in of_it)} == visible
    for what in visible:
        assert all(word in sent for word in words[what])
    assert "before" in sent


async def test_clients_of_other_languages_see_the_standard_details() -> None:
    def make() -> CallError:
        return errors.Validation("wrong", retry_after=1.5, violations={"name": "is empty"})

    async with raising_server(make) as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICE}/unary_unary")(b"")
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    assert (status.code, status.message) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "wrong")
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    for message, packed in zip((info, retry, bad), status.details, strict=False):
        assert packed.Unpack(message)
    assert (info.reason, info.domain, info.metadata["code"]) == ("Validation", "HRPC", "1003")
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.5
    assert [(each.field, each.description) for each in bad.field_violations] == [("name", "is empty")]


async def test_an_error_that_is_not_for_the_caller_tells_an_id_and_nothing_else() -> None:
    class S3cretError(Exception):
        pass

    def make() -> Exception:
        try:
            raise OutOfStock("s3cret")
        except OutOfStock as cause:
            error = S3cretError("s3cret")
            error.__cause__ = cause
            error.add_note("s3cret")
            return error

    async with raising_server(make) as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="internal error") as caught:
            await channel.unary_unary(f"/{SERVICE}/unary_unary")(b"")
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    (packed,) = status.details
    assert packed.Unpack(info)
    assert (info.reason, info.domain) == ("Internal", "HRPC")
    assert f"(error id {info.metadata['error_id']})" in status.message
    assert "s3cret" not in str(status).lower()
    assert error_of(caught.value) is caught.value


@pytest.mark.parametrize("number", [None, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_a_process_that_has_reached_a_limit_is_overloaded_and_says_which_in_its_log(
    number: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def make() -> BaseException:
        return MemoryError() if number is None else OSError(number, os.strerror(number))

    async with raising_server(make) as server, grpc.aio.insecure_channel(server.address) as channel:
        for suffix in ("", "_in_thread"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(f"/{SERVICE}/unary_unary{suffix}")(b"", timeout=10)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert re.fullmatch(r"the server is overloaded \(error id \w+\)", caught.value.details() or "")
    assert "has reached a limit" in (output := capsys.readouterr().out)
    assert "MemoryError" in output if number is None else os.strerror(number) in output


async def test_of_a_group_with_an_error_that_is_not_for_the_caller_nothing_is_told() -> None:
    async with raising_server(lambda: ExceptionGroup("both", [OutOfStock(), KeyError("a")])) as server:
        with pytest.raises(grpc.aio.AioRpcError, match="internal error"):
            await answer(server.address)


async def test_a_fault_of_the_service_is_in_its_log_and_other_errors_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    raised: list[CallError] = []

    def make() -> CallError:
        raised.append(errors.Unknown("broken") if not raised else OutOfStock())
        return raised[-1]

    async with raising_server(make) as server:
        for _ in range(2):
            with pytest.raises(CallError):
                await answer(server.address)
    lines = capsys.readouterr().out.splitlines()
    assert [len([line for line in lines if error.id in line]) for error in raised] == [1, 0]


@pytest.mark.parametrize("change", [{"id": 17}, {"trace": None}, {"time": "now"}, {"message": b"s3cret"}])
async def test_an_error_whose_fields_were_spoilt_is_a_fault_of_the_service(
    change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def make() -> CallError:
        error = OutOfStock()
        error.__dict__.update(change)
        return error

    async with raising_server(make) as server:
        with pytest.raises(grpc.aio.AioRpcError, match="internal error") as caught:
            await answer(server.address)
    assert "s3cret" not in str(caught.value)
    assert "raise make()" in capsys.readouterr().out  # the stack of the error, before that of the fault


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


LONG = "ä" * 20_000


def huge() -> CallError:
    error = OutOfStock(LONG, details=[wrappers_pb2.StringValue(value=LONG)], violations={LONG: LONG})
    error.trace = tuple(Hop(f"hop{number}", "host" * 20, LONG, LONG) for number in range(30))
    error.__cause__ = ValueError(LONG)
    error.add_note(LONG)
    return error


async def test_an_error_of_any_size_arrives_at_a_client_with_the_usual_limits() -> None:
    async with raising_server(
        huge, hrpc.with_error_details(host=True, stack=True, context=True, source=True)
    ) as server:
        for kind in KINDS:
            with pytest.raises(OutOfStock) as caught:
                await answer(server.address, kind)
            assert len(caught.value.message.encode()) <= 1024
            names = [hop.app_name for hop in caught.value.trace]
            assert (names[0], names[-2:]) == ("hop0", ["shop", "shop"])  # what it has come through, and the test
            metadata = caught.value.trailing_metadata()
            assert metadata is not None
            assert size_of(metadata) <= ROOM


def test_what_is_least_needed_is_cut_first() -> None:
    error = OutOfStock("x", details=[wrappers_pb2.StringValue(value="d" * 100)], violations={"v": "v" * 20})
    error.trace = tuple(Hop(f"hop{n}", "", "t" * 100, "c" * 100) for n in range(3))
    error.__cause__ = ValueError("e" * 30)
    encoder = Encoder("shop", ErrorSettings(host=False, stack=True, context=True, source=True))
    lost: list[str] = []
    for room in range(ROOM, 0, -20):
        message, data = encoder.encode(error, room)
        found = decode(data, failed(data))
        assert found is not None
        assert (found, found.name, found.message) == (error, "OutOfStock", message)
        there = {
            "stack": any(hop.stack_trace for hop in found.trace),
            "context": any(hop.additional_context for hop in found.trace),
            "hops": len(found.trace) > 2,
            "source": bool(found.source_error),
            "details": bool(found.error_details),
            "violations": bool(found.violations),
        }
        lost += [what for what, is_there in there.items() if not is_there and what not in lost]
    assert lost == ["stack", "context", "hops", "source", "details", "violations"]
    assert [hop.app_name for hop in found.trace] == ["hop0", "shop"]


def failed(data: object, code: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION) -> grpc.aio.AioRpcError:
    trailing: Any = grpc.aio.Metadata(("other", "1"), (STATUS_DETAILS, data))  # type: ignore[arg-type]
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "out of stock")


def encoded(error: CallError | None = None) -> bytes:
    return Encoder("shop", ErrorSettings(True, True, True, True)).encode(error or OutOfStock())[1]


SENT = encoded(OutOfStock(retry_after=1, violations={"a": "b"}))


def test_the_error_of_a_call_without_details_is_given_back() -> None:
    for metadata in (None, grpc.aio.Metadata(), grpc.aio.Metadata(("a", "b"))):
        error = grpc.aio.AioRpcError(grpc.StatusCode.ABORTED, grpc.aio.Metadata(), metadata)
        assert error_of(error) is error
    mine = OutOfStock()
    assert error_of(mine) is mine


@given(st.binary(max_size=400))
def test_garbled_details_change_nothing(data: bytes) -> None:
    error = failed(data)
    assert error_of(error) is error


@given(st.data())
def test_details_that_were_damaged_on_their_way_raise_nothing(data: st.DataObject) -> None:
    sent = bytearray(SENT)
    for _ in range(data.draw(st.integers(1, 5))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    found = error_of(failed(bytes(sent)))
    assert isinstance(str(found), str)
    assert found.code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "TESTSHOP\nforged"},
        {"issuer": ""},
        {"issuer": "x" * 200},
        {"name": "a\x1b[31m"},
        {"error_code": 0},
    ],
)
def test_details_that_would_forge_a_log_line_are_not_taken(change: dict[str, Any]) -> None:
    error = OutOfStock()
    error.__dict__.update(change)
    bad = failed(encoded(error))
    assert error_of(bad) is bad


@pytest.mark.parametrize("data", ["text", b"x" * 100_000, None])
def test_details_that_are_too_large_or_no_bytes_are_not_taken(data: object) -> None:
    bad = failed(data)
    assert error_of(bad) is bad


def test_details_of_another_status_are_not_taken() -> None:
    bad = failed(encoded(), grpc.StatusCode.INTERNAL)
    assert error_of(bad) is bad


async def test_what_cannot_be_sent_as_text_does_not_keep_the_answer() -> None:
    def make() -> CallError:
        error = OutOfStock("half \ud83d", violations={"\ud83d": "\ud83d"})
        error.__cause__ = ValueError("\ud83d")
        error.add_note("\ud83d")
        return error

    async with raising_server(make, hrpc.with_error_details(source=True)) as server:
        with pytest.raises(OutOfStock, match=r"half \?"):
            await answer(server.address)


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


async def test_the_line_of_the_call_has_the_whole_error_also_what_the_caller_does_not_see(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def make() -> CallError:
        error = OutOfStock()
        error.__cause__ = KeyError("shelf 3")
        return error

    async with raising_server(make) as server:
        with pytest.raises(OutOfStock):
            await answer(server.address)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if '"category":"audit"' in line]
    assert "(OutOfStock | TESTSHOP | 2000) out of stock | from: 'shelf 3'" in line
