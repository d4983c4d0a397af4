"""Handlers that are not coroutines: they run in threads, and have all that the others have."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import _runtime, context, errors, from_thread
from tests.echo import SERVICE, add_echo, call, handled
from tests.eventually import eventually

LOCAL = hrpc.with_listen_port(0, host="127.0.0.1")


def a_server(*options: hrpc.Option, **methods: Any) -> hrpc.Server:
    server = hrpc.new_server(hrpc.with_server_name("threads"), LOCAL, *options)
    add_echo(server, **methods)
    return server


async def looked_up(key: str, *, suffix: str) -> str:
    current = context.current()
    assert current is not None
    assert _runtime.current() is not None
    await asyncio.sleep(0)
    return f"{current.trace_id}:{key}{suffix}"


async def test_from_thread_awaits_in_the_loop_with_the_context_of_the_call() -> None:
    def handler(_: bytes, __: Any) -> bytes:
        return from_thread.run(looked_up, "a", suffix="!").encode()

    async with a_server(Look=handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        metadata = ((context.METADATA_KEY, '{"trace_id":"abcd"}'),)
        assert await call(channel, "Look", metadata=metadata) == b"abcd:a!"


async def test_from_thread_raises_what_the_coroutine_raises() -> None:
    async def fails() -> None:
        raise KeyError("x")

    def handler(_: bytes, __: Any) -> bytes:
        with pytest.raises(KeyError):
            from_thread.run(fails)
        return b"caught"

    async with a_server(Look=handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Look") == b"caught"


async def test_from_thread_ends_with_the_call() -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()
    waits = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        waits.set()
        await asyncio.Event().wait()

    def handler(_: bytes, __: Any) -> bytes:
        for attempt in ("while it waits", "when it is over"):
            try:
                from_thread.run(wait)
            except CancelledError:
                loop.call_soon_threadsafe(ended.put_nowait, attempt)
        return b""

    async with a_server(Wait=handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        called = asyncio.ensure_future(call(channel, "Wait"))
        await waits.wait()
        called.cancel()
        async with asyncio.timeout(5):
            assert [await ended.get(), await ended.get()] == ["while it waits", "when it is over"]


async def test_a_thread_that_outlasts_its_call_still_knows_the_peer_and_is_refused_the_rest() -> None:
    outcome: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()
    entered, over = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def handler(_: bytes, call: Any) -> bytes:
        peer = call.peer()
        loop.call_soon_threadsafe(entered.set)
        over.wait(30)
        with pytest.raises(grpc.aio.UsageError) as caught:
            call.auth_context()
        loop.call_soon_threadsafe(outcome.put_nowait, (call.peer() == peer, str(caught.value)))
        return b""

    async with a_server(Wait=handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        called = asyncio.ensure_future(call(channel, "Wait"))
        await entered.wait()
        called.cancel()
        assert server._running is not None
        calls = server._running.parts.calls

        async def has_ended() -> bool:
            return calls.in_flight == 0

        await eventually(has_ended)
        over.set()
        async with asyncio.timeout(30):
            same, refusal = await outcome.get()
    assert same
    assert refusal.startswith(f"context.auth_context: /{SERVICE}/Wait has ended")


async def test_from_thread_outside_of_a_handlers_thread_says_so() -> None:
    with pytest.raises(errors.NotRunning, match="no call is served in this thread"):
        from_thread.run(asyncio.sleep, 0)


async def test_no_more_than_the_option_says_run_at_once() -> None:
    running, most = 0, 0
    lock = threading.Lock()
    full = threading.Barrier(2)

    def handler(_: bytes, __: Any) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        full.wait(30)
        with lock:
            running -= 1
        return b""

    async with a_server(hrpc.with_handler_threads(2), Count=handler) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await asyncio.gather(*(call(channel, "Count", timeout=60) for _ in range(8)))
    assert most == 2


async def test_a_call_that_its_client_gives_up_while_it_waits_for_a_thread_is_never_served() -> None:
    let_go, holding = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    served: list[bytes] = []

    def hold(request: bytes, _: Any) -> bytes:
        loop.call_soon_threadsafe(holding.set)
        let_go.wait(30)
        return request

    def note(request: bytes, _: Any) -> bytes:
        served.append(request)
        return request

    async with a_server(hrpc.with_handler_threads(1), Holding=hold, Note=note) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            held = asyncio.ensure_future(call(channel, "Holding", timeout=30))
            await holding.wait()
            given_up = call(channel, "Note", b"first")

            async def both_have_begun() -> bool:
                assert server._running is not None
                return server._running.parts.calls.in_flight == 2

            await eventually(both_have_begun)
            given_up.cancel()
            assert await handled(server, "Note") == {grpc.StatusCode.CANCELLED: 1}
            let_go.set()
            await held
            assert await call(channel, "Note", b"second") == b"second"
    assert served == [b"second"]


async def test_a_stream_that_its_client_gives_up_is_closed_in_the_thread() -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def numbers(_: bytes, __: Any) -> Iterator[bytes]:
        try:
            while True:
                yield b"1"
        finally:
            assert context.current() is not None
            loop.call_soon_threadsafe(closed.set)

    server = a_server()
    server.add_registered_method_handlers("test.N", {"Numbers": grpc.unary_stream_rpc_method_handler(numbers)})
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        stream = channel.unary_stream("/test.N/Numbers")(b"")
        assert await stream.read() == b"1"
        stream.cancel()
        async with asyncio.timeout(5):
            await closed.wait()


async def test_requests_of_a_stream_are_read_in_the_thread() -> None:
    def join(requests: Iterator[bytes], _: Any) -> bytes:
        return b"+".join(requests)

    def each(requests: Iterator[bytes], call: Any) -> Iterator[bytes]:
        call.send_initial_metadata((("begun", "yes"),))
        for request in requests:
            yield request * 2
        call.set_trailing_metadata((("ended", "yes"),))

    server = a_server()
    handlers = {
        "Join": grpc.stream_unary_rpc_method_handler(join),
        "Each": grpc.stream_stream_rpc_method_handler(each),
    }
    server.add_registered_method_handlers("test.R", handlers)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await channel.stream_unary("/test.R/Join")(iter([b"a", b"b", b"c"])) == b"a+b+c"
        stream = channel.stream_stream("/test.R/Each")(iter([b"a", b"b"]))
        assert [part async for part in stream] == [b"aa", b"bb"]
        assert ("begun", "yes") in list(await stream.initial_metadata())
        assert ("ended", "yes") in list(await stream.trailing_metadata())


async def test_stop_iteration_that_escapes_a_handler_is_an_internal_error() -> None:
    def handler(_: bytes, __: Any) -> bytes:
        return next(iter(()))  # type: ignore[no-any-return]

    async with a_server(Stop=handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="internal error"):
            await call(channel, "Stop", timeout=30)
        assert await handled(server, "Stop") == {grpc.StatusCode.INTERNAL: 1}


async def test_an_object_with_an_async_call_is_a_coroutine_function_too() -> None:
    class Handler:
        async def __call__(self, request: bytes, _: Any) -> bytes:
            return request + b"!"

    server = a_server(Object=Handler())
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await channel.unary_unary(f"/{SERVICE}/Object")(b"a") == b"a!"


async def test_a_generator_that_takes_long_to_close_keeps_no_other_call_waiting() -> None:
    started, let_go = threading.Event(), threading.Event()
    stuck = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stream(_: bytes, __: Any) -> Iterator[bytes]:
        try:
            started.set()
            let_go.wait(10)
            yield b""
        finally:
            let_go.clear()
            loop.call_soon_threadsafe(stuck.set)
            let_go.wait(10)

    server = a_server()
    server.add_registered_method_handlers("test.S", {"Stream": grpc.unary_stream_rpc_method_handler(stream)})
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        streaming = channel.unary_stream("/test.S/Stream")(b"")
        reading = asyncio.ensure_future(streaming.read())
        await asyncio.to_thread(started.wait, 10)
        streaming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await handled(server, "Stream")
        let_go.set()
        await asyncio.wait_for(stuck.wait(), 10)
        try:
            assert await call(channel, "EchoInThread", b"a", timeout=5) == b"a"
        finally:
            let_go.set()


async def test_a_callback_that_fails_does_not_cost_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    called = []

    def fails() -> None:
        called.append("fails")
        raise KeyError("x")

    def handler(_: bytes, call: Any) -> bytes:
        call.add_callback(fails)
        call.add_callback(lambda: called.append("next"))
        return b"a"

    async with a_server(Call=handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Call") == b"a"
    assert called == ["fails", "next"]
    assert f"a callback of /{SERVICE}/Call failed" in capsys.readouterr().out
