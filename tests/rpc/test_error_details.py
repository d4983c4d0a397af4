"""The details of an error on their way: they fit, and what cannot be one changes nothing."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import wrappers_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

import hrpc
from hrpc import errors
from hrpc.errors import CallError, Hop
from hrpc.option import ErrorSettings
from hrpc.rpc.error_details import ROOM, Encoder, decode, size_of
from hrpc.rpc.upstream_error import STATUS_DETAILS, error_of
from tests.rpc.raising import KINDS, SERVICE, OutOfStock, answer, raising_server


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
