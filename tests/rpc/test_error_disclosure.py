"""What a caller is told of an error, and what only the service's own log has."""

from __future__ import annotations

import errno
import os
import re
import socket
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import hrpc
from hrpc import errors
from hrpc.errors import CallError, Hop
from hrpc.rpc.upstream_error import error_of
from tests.rpc.raising import SERVICE, OutOfStock, answer, from_a_cause, raising_server


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
