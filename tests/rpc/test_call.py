"""A call: whatever a handler does, the caller gets an answer, and nothing that was not meant for it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import _runtime, context, errors
from tests.deadlines import missed
from tests.echo import SERVICE, add_echo, call, handled


def a_server(**methods: Any) -> hrpc.Server:
    server = hrpc.new_server(hrpc.with_server_name("calls"), hrpc.with_listen_port(0, host="127.0.0.1"))
    add_echo(server, **methods)
    return server


async def status(server: hrpc.Server, method: str) -> tuple[grpc.StatusCode, str]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, method, timeout=30)
        return caught.value.code(), caught.value.details() or ""


async def test_all_kinds_of_calls_are_answered() -> None:
    async with a_server() as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Echo", b"a") == b"a"
        assert await call(channel, "EchoInThread", b"a") == b"a"
        for method in ("Repeat", "RepeatInThread"):
            assert [part async for part in channel.unary_stream(f"/{SERVICE}/{method}")(b"a")] == [b"a"] * 3
        assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])) == b"ab"
        assert [part async for part in channel.stream_stream(f"/{SERVICE}/Each")(iter([b"a", b"b"]))] == [b"a", b"b"]


async def fails(_: bytes, __: Any) -> bytes:
    raise ValueError("password=s3cret")


def fails_in_thread(_: bytes, __: Any) -> bytes:
    raise ValueError("password=s3cret")


async def stray_cancel(_: bytes, __: Any) -> bytes:
    raise asyncio.CancelledError


async def exits(_: bytes, __: Any) -> bytes:
    raise SystemExit(3)


def exits_in_thread(_: bytes, __: Any) -> bytes:
    raise SystemExit(3)


async def aborts_with_ok(_: bytes, call: Any) -> bytes:
    await call.abort(grpc.StatusCode.OK, "fine")
    return b""


@pytest.mark.parametrize("method", [fails, fails_in_thread, stray_cancel, exits, exits_in_thread, aborts_with_ok])
async def test_a_handler_that_fails_answers_internal_with_an_id_and_not_its_own_words(
    method: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async with a_server(Fail=method) as server:
        code, details = await status(server, "Fail")
        assert code is grpc.StatusCode.INTERNAL
        found = re.fullmatch(r"internal error \(error id ([0-9a-f]{12})\)", details)
        assert found is not None
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo") == b"x"
    lines = [line for line in capsys.readouterr().out.splitlines() if found[1] in line]
    logged, audit = lines
    assert json.loads(logged)["msg"].startswith(f"/{SERVICE}/Fail failed with ")
    assert method.__name__ in logged  # the stack
    assert '"category":"audit"' in audit


async def aborts(_: bytes, call: Any) -> bytes:
    await call.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one")
    return b""


def aborts_in_thread(_: bytes, call: Any) -> bytes:
    call.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one")
    return b""


async def aborts_then_fails(_: bytes, call: Any) -> bytes:
    try:
        await call.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one")
    except grpc.aio.AbortError:
        raise KeyError("x") from None
    return b""


async def aborts_and_swallows(_: bytes, call: Any) -> bytes:
    try:
        await call.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one")
    except grpc.aio.AbortError:
        return b""
    return b""


async def sets_code(_: bytes, call: Any) -> bytes:
    call.set_code(grpc.StatusCode.ALREADY_EXISTS)
    call.set_details("there is one")
    return b""


def sets_code_in_thread(_: bytes, call: Any) -> bytes:
    call.set_code(grpc.StatusCode.ALREADY_EXISTS)
    call.set_details("there is one")
    return b""


@pytest.mark.parametrize(
    "method",
    [aborts, aborts_in_thread, aborts_then_fails, aborts_and_swallows, sets_code, sets_code_in_thread],
)
async def test_the_status_that_a_handler_gives_is_the_one_that_arrives_and_is_counted(method: Any) -> None:
    async with a_server(Answer=method) as server:
        assert await status(server, "Answer") == (grpc.StatusCode.ALREADY_EXISTS, "there is one")
        assert await handled(server, "Answer") == {grpc.StatusCode.ALREADY_EXISTS: 1}


@pytest.mark.parametrize(
    "error",
    [
        errors.DatabaseUnavailable("mysql at 10.0.0.7 is away"),
        errors.ServiceNotFound("users"),
        errors.ConsulUnreachable("no answer from 10.0.0.8"),
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "10.0.0.9 is away"),
    ],
)
async def test_something_of_ours_that_is_away_answers_unavailable_without_its_address(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    async def needs_it(_: bytes, __: Any) -> bytes:
        raise error

    async with a_server(Need=needs_it) as server:
        code, details = await status(server, "Need")
        assert code is grpc.StatusCode.UNAVAILABLE
        assert re.fullmatch(r"an upstream is unavailable \(error id [0-9a-f]{12}\)", details)
    words = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
    assert f"Need failed, {details.partition(' (')[0]}: {words} (error id" in capsys.readouterr().out


async def test_the_context_of_the_caller_is_there_in_the_handler_its_tasks_and_in_threads() -> None:
    seen: dict[str, context.Context | None] = {}

    async def look(_: bytes, __: Any) -> bytes:
        seen["handler"] = context.current()

        async def in_task() -> None:
            seen["task"] = context.current()

        await asyncio.create_task(in_task())
        return b""

    def look_in_thread(_: bytes, __: Any) -> bytes:
        seen["thread"] = context.current()
        runtime = _runtime.current()
        return b"" if runtime is None else runtime.server_name.encode()

    message = ((context.METADATA_KEY, '{"trace_id":"abcd","namespace":"Dev","server_name":"users"}'),)
    async with a_server(Look=look, LookInThread=look_in_thread) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await call(channel, "Look", metadata=message)
            assert await call(channel, "LookInThread", metadata=message) == b"calls"
            assert [found and (found.trace_id, found.server_name) for found in seen.values()] == [("abcd", "users")] * 3
            await call(channel, "Look")
            assert seen["handler"] is not None
            assert seen["handler"].trace_id != "abcd"
            await call(channel, "LookInThread")
            assert seen["thread"] is not None
            assert seen["thread"].trace_id != "abcd"


async def test_a_call_that_its_client_gives_up_is_cancelled_and_counted_so() -> None:
    cancelled = asyncio.Event()
    entered = asyncio.Event()

    async def wait(_: bytes, __: Any) -> bytes:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return b""

    async with a_server(Wait=wait) as server, grpc.aio.insecure_channel(server.address) as channel:
        running = asyncio.ensure_future(call(channel, "Wait"))
        await entered.wait()
        running.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        assert await handled(server, "Wait") == {grpc.StatusCode.CANCELLED: 1}


async def test_a_deadline_that_passes_is_counted_as_such() -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def wait(_: bytes, __: Any) -> bytes:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with a_server(Wait=wait) as server, grpc.aio.insecure_channel(server.address) as channel:

        async def counted() -> bool:
            # Of a call that was long on its way, the client's deadline is over well before the server's: a cancel.
            return entered.is_set() and grpc.StatusCode.DEADLINE_EXCEEDED in await handled(server, "Wait")

        await missed(lambda seconds: call(channel, "Wait", timeout=seconds), counted)
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_method_that_nobody_serves_is_unimplemented() -> None:
    async with a_server() as server:
        assert (await status(server, "Nothing"))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_handlers_of_old_generated_code_and_of_generic_handlers_are_wrapped_too() -> None:
    class Proxy(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(fails) if details.method == "/proxy.P/Fail" else None

    server = a_server()
    old = grpc.method_handlers_generic_handler("old.O", {"Fail": grpc.unary_unary_rpc_method_handler(fails)})
    server.add_generic_rpc_handlers((old, Proxy()))
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        for path in ("/old.O/Fail", "/proxy.P/Fail"):
            with pytest.raises(grpc.aio.AioRpcError, match="internal error"):
                await channel.unary_unary(path)(b"")


async def test_an_interceptor_of_the_user_runs() -> None:
    seen: list[str] = []

    class Interceptor(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            seen.append(details.method)
            return await continuation(details)

    server = a_server()
    server.apply(hrpc.with_interceptors(Interceptor()))
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Echo")
    assert seen == [f"/{SERVICE}/Echo"]


@pytest.mark.parametrize("intercepted", [False, True])
async def test_messages_are_read_and_written_once_whoever_looks_at_them(intercepted: bool) -> None:
    seen: list[Any] = []

    class Interceptor(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            handler = await continuation(details)

            async def handle(request: Any, call: Any) -> Any:
                response = await handler.unary_unary(request, call)
                seen.append((request, response))
                return response

            codecs = (handler.request_deserializer, handler.response_serializer)
            return grpc.unary_unary_rpc_method_handler(handle, *codecs)

    async def double(request: int, _: Any) -> int:
        return request * 2

    server = a_server()
    codecs = (int, lambda number: str(number).encode())
    handler = grpc.unary_unary_rpc_method_handler(double, *codecs)
    server.add_registered_method_handlers("test.Number", {"Double": handler})
    if intercepted:
        server.apply(hrpc.with_interceptors(Interceptor()))
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await channel.unary_unary("/test.Number/Double")(b"4") == b"8"
    assert seen == ([(4, 8)] if intercepted else [])


async def test_bytes_that_are_no_message_and_messages_that_are_none_are_internal_errors_in_neutral_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def echo(request: Any, _: Any) -> Any:
        return request if request == "text" else object()

    async def fails_without_a_response(_: Any, call: Any) -> Any:
        call.set_code(grpc.StatusCode.NOT_FOUND)

    def text(message: str) -> bytes:
        if not isinstance(message, str):
            raise TypeError(f"s3cret {message!r}")
        return message.encode()

    def handler(behaviour: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(behaviour, bytes.decode, text)

    server = a_server()
    server.add_registered_method_handlers(
        "test.T", {"Strict": handler(echo), "None": handler(fails_without_a_response)}
    )
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        method = channel.unary_unary("/test.T/Strict")
        assert await method(b"text") == b"text"
        with pytest.raises(grpc.aio.AioRpcError, match="the request is not a message of its type") as caught:
            await method(b"\xff")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        with pytest.raises(grpc.aio.AioRpcError, match=r"internal error \(error id") as caught:
            await method(b"other")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert await handled(server, "Strict") == {grpc.StatusCode.OK: 1, grpc.StatusCode.INTERNAL: 2}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.T/None")(b"")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "s3cret" in capsys.readouterr().out  # in the log, and there alone
