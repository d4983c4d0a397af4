"""The status that a handler gives: it arrives, it is the one that is counted, and gRPC has nothing to complain of."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import errors
from hrpc.rpc import metadata
from tests.echo import SERVICE, add_echo, call, handled

NOT_FOUND, INTERNAL = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL


def a_server(*options: hrpc.Option, **methods: Any) -> hrpc.Server:
    local = hrpc.with_listen_port(0, host="127.0.0.1")
    server = hrpc.new_server(hrpc.with_server_name("status"), local, *options)
    add_echo(server, **methods)
    return server


async def answer(handler: Any) -> tuple[grpc.StatusCode, str]:
    """The status of a call, which is counted under the same code."""
    async with a_server(Answer=handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Answer", timeout=30)
        assert await handled(server, "Answer") == {caught.value.code(): 1}
        return caught.value.code(), caught.value.details() or ""


async def aborts_again(_: bytes, call: Any) -> None:
    try:
        await call.abort(NOT_FOUND, "first")
    except Exception as error:  # noqa: BLE001 - as handlers do
        await call.abort(INTERNAL, f"second {error}")


async def aborts_and_sets_a_code(_: bytes, call: Any) -> None:
    try:
        await call.abort(NOT_FOUND, "first")
    except grpc.aio.AbortError:
        call.set_code(INTERNAL)


async def aborts_in_a_task(_: bytes, call: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(call.abort(NOT_FOUND, "first"))


@pytest.mark.parametrize("handler", [aborts_again, aborts_and_sets_a_code, aborts_in_a_task])
async def test_the_first_abort_is_the_one_that_counts(handler: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert await answer(handler) == (NOT_FOUND, "first")
    assert "Unexpected" not in capsys.readouterr().out


async def test_a_deadline_that_passes_in_a_stream_after_its_abort_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def stays(_: bytes, call: Any) -> AsyncIterator[bytes]:
        try:
            await call.abort(NOT_FOUND, "first")
        except grpc.aio.AbortError:
            await asyncio.Event().wait()
        yield b""

    server = a_server(hrpc.with_default_timeout(0.1))
    server.add_registered_method_handlers("test.S", {"Stays": grpc.unary_stream_rpc_method_handler(stays)})
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="first"):
            await channel.unary_stream("/test.S/Stays")(b"", timeout=30).read()
        assert await handled(server, "Stays") == {NOT_FOUND: 1}
    assert "Unexpected" not in capsys.readouterr().out


def aborting(details: Any) -> Any:
    async def aborts(_: bytes, call: Any) -> None:
        await call.abort(NOT_FOUND, details)

    return aborts


def setting(details: Any) -> Any:
    async def sets(_: bytes, call: Any) -> bytes:
        call.set_code(NOT_FOUND)
        call.set_details(details)
        return b""

    return sets


@pytest.mark.parametrize("way", [aborting, setting])
@pytest.mark.parametrize(
    ("details", "arrives"),
    [
        (None, ""),
        ("half a character: \ud800", "half a character: ?"),
        ("ü" * 10_000, "ü" * 681 + "…"),
        ("x" * 100_000, "x" * (metadata.LONGEST_MESSAGE - 3) + "…"),
        ("x" * metadata.LONGEST_MESSAGE, "x" * metadata.LONGEST_MESSAGE),
    ],
    ids=["none", "half a character", "long", "huge", "longest"],
)
async def test_a_message_that_cannot_be_sent_as_it_is_does_not_cost_the_caller_its_status(
    way: Any, details: Any, arrives: str
) -> None:
    assert await answer(way(details)) == (NOT_FOUND, arrives)


@pytest.mark.parametrize("way", [aborting, setting])
async def test_details_that_are_no_text_are_a_mistake_of_the_handlers(
    way: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, details = await answer(way(ValueError("s3cret")))
    assert code is INTERNAL
    assert details.startswith("internal error (error id")
    assert "the details of a status take a str, not a ValueError" in capsys.readouterr().out


async def test_an_abort_that_is_not_of_this_call_is_an_error_as_any_other() -> None:
    async def fails(_: bytes, __: Any) -> None:
        raise grpc.aio.AbortError("s3cret")

    code, details = await answer(fails)
    assert code is INTERNAL
    assert details.startswith("internal error (error id")


async def test_a_second_response_where_there_is_one_is_refused_before_it_hides_the_status() -> None:
    async def writes(_: bytes, call: Any) -> bytes:
        await call.write(b"one")
        return b"two"

    assert (await answer(writes))[0] is INTERNAL


async def test_a_handler_that_does_not_look_at_its_requests_leaves_no_warning() -> None:
    async def ignores(_: Any, __: Any) -> bytes:
        return b"done"

    server = a_server()
    server.add_registered_method_handlers("test.S", {"Ignore": grpc.stream_unary_rpc_method_handler(ignores)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with server, grpc.aio.insecure_channel(server.address) as channel:
            assert await channel.stream_unary("/test.S/Ignore")(iter([b"a"])) == b"done"
    assert [str(warning.message) for warning in caught if "never awaited" in str(warning.message)] == []


async def test_deadlines_of_centuries_leave_no_timers_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def recording(delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        timers.append(call_later(delay, callback, *args))
        return timers[-1]

    async def waits(_: bytes, __: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(loop, "call_later", recording)
    async with a_server(Wait=waits) as server, grpc.aio.insecure_channel(server.address) as channel:
        for nanoseconds in (2**62, 1_000_000) * 3:
            message = ((hrpc.context.METADATA_KEY, f'{{"request_timeout":{nanoseconds}}}'),)
            method = "Echo" if nanoseconds == 2**62 else "Wait"
            with suppress(grpc.aio.AioRpcError):
                await call(channel, method, metadata=message)
        await handled(server, "Wait")
    assert [timer.when() for timer in timers if timer.when() > 2**32 and not timer.cancelled()] == []


async def test_a_stream_is_read_to_its_end_and_beyond() -> None:
    async def reads(requests: Any, call: Any) -> bytes:
        first = await call.read()
        second = await anext(requests)
        rest = [request async for request in requests]
        assert [request async for request in requests] == []
        assert await call.read() is grpc.aio.EOF
        return b"".join([first, second, *rest])

    server = a_server()
    server.add_registered_method_handlers(SERVICE, {"Reads": grpc.stream_unary_rpc_method_handler(reads)})
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await channel.stream_unary(f"/{SERVICE}/Reads")(iter([b"a", b"b", b"c"])) == b"abc"


async def times_out(_: bytes, call: Any) -> None:
    try:
        async with asyncio.timeout(0):
            await call.write(b"x")
    except TimeoutError:
        raise errors.NotFound from None


async def yields(request: bytes, _: Any) -> AsyncIterator[bytes]:
    while True:
        yield request


@pytest.mark.parametrize(("handler", "code"), [(times_out, NOT_FOUND), (yields, grpc.StatusCode.DEADLINE_EXCEEDED)])
async def test_a_stream_whose_first_response_is_cancelled_half_way_has_a_status(
    handler: Any, code: grpc.StatusCode
) -> None:
    server = a_server()
    server.add_registered_method_handlers("test.S", {"Stream": grpc.unary_stream_rpc_method_handler(handler)})
    nanosecond = ((hrpc.context.METADATA_KEY, '{"request_timeout":1}'),)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        metadata = nanosecond if handler is yields else ()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_stream("/test.S/Stream")(b"x", metadata=metadata, timeout=30).read()
        assert caught.value.code() is code
        assert "the deadline of the call has passed" in caught.value.details() or code is NOT_FOUND
        assert await handled(server, "Stream") == {code: 1}


async def test_a_connection_that_is_lost_while_a_stream_is_written_is_a_cancelled_call(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def large(_: bytes, __: Any) -> AsyncIterator[bytes]:
        while True:
            yield bytes(1_000_000)

    server = a_server()
    server.add_registered_method_handlers("test.S", {"Large": grpc.unary_stream_rpc_method_handler(large)})
    async with server:
        for _number in range(5):
            async with grpc.aio.insecure_channel(server.address) as channel:
                stream = channel.unary_stream("/test.S/Large")(b"")
                await stream.read()
        assert await handled(server, "Large") == {grpc.StatusCode.CANCELLED: 5}
    assert '"level": "error"' not in capsys.readouterr().out
