"""Which failures say that a call surely did not run: on real servers, as they stop, are killed, and refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from h2.errors import ErrorCodes
from h2.events import StreamEnded

import hrpc
from hrpc import errors
from hrpc.status import GOAWAY, NOT_BEGUN, REFUSED_STREAM, STOPPING
from tests.echo import add_echo, call
from tests.elsewhere import elsewhere
from tests.http2 import Http2, http2_server
from tests.service.calls.fleet import fleet
from tests.service.peers import called

Act = Callable[[Http2, int], None]


@asynccontextmanager
async def acting(act: Act) -> AsyncIterator[int]:
    """Serves HTTP/2 that does this to each stream whose request has arrived; gives its port."""

    async def serve() -> None:
        while True:
            connection = await connections.get()
            followed.append(tasks.create_task(follow(connection)))

    async def follow(connection: Http2) -> None:
        while await connection.read():
            ended = [event.stream_id for event in connection.events if isinstance(event, StreamEnded)]
            connection.events.clear()
            for stream in ended:
                act(connection, stream)
                connection.flush()

    connections: asyncio.Queue[Http2] = asyncio.Queue()
    async with http2_server(connections) as port, asyncio.TaskGroup() as tasks:
        followed = [tasks.create_task(serve())]
        try:
            yield port
        finally:
            for task in followed:
                task.cancel()


def reset(code: ErrorCodes) -> Act:
    return lambda connection, stream: connection.h2.reset_stream(stream, code)


def leave(connection: Http2, _: int) -> None:
    """GOAWAY before this stream, as a server that stops may answer."""
    connection.h2.close_connection(last_stream_id=0)
    connection.flush()
    connection.close()


def stop(connection: Http2, stream: int) -> None:
    """As grpc.aio answers a call that nobody had taken when it stops."""
    status = [("grpc-status", "1"), ("grpc-message", STOPPING)]
    connection.h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc"), *status], True)


def cut(connection: Http2, _: int) -> None:
    connection.close()


@pytest.mark.parametrize("act", [reset(ErrorCodes.REFUSED_STREAM), leave], ids=["REFUSED_STREAM", "GOAWAY"])
async def test_what_http2_says_was_not_processed_is_made_again(act: Act) -> None:
    async with acting(act) as refusing, called(b"a") as port, fleet((refusing, port)) as found:
        assert [await call(found.channel, "Name", timeout=20) for _ in range(6)] == [b"a"] * 6
        assert found.counts["retries"] >= 1


async def test_a_call_that_only_a_stopping_server_could_take_is_unavailable_and_not_cancelled() -> None:
    async with acting(stop) as port, fleet((port,)) as found:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(found.channel, "Name", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "service 'fleet': the instance that was asked stops, and none of 1 known" in str(caught.value.details())


@pytest.mark.parametrize(
    "act",
    [reset(ErrorCodes.CANCEL), reset(ErrorCodes.INTERNAL_ERROR), cut],
    ids=["CANCEL", "INTERNAL_ERROR", "connection cut"],
)
async def test_what_may_have_been_processed_is_not(act: Act) -> None:
    async with acting(act) as port, fleet((port,)) as found:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(found.channel, "Name", timeout=20)
        assert found.counts["attempts"] == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:{}: no"),
        (grpc.StatusCode.UNAVAILABLE, f"{GOAWAY} Error code: 0; Debug Text: )"),
        (grpc.StatusCode.UNAVAILABLE, REFUSED_STREAM),
        (grpc.StatusCode.UNAVAILABLE, NOT_BEGUN),
        (grpc.StatusCode.CANCELLED, STOPPING),
    ],
)
@pytest.mark.parametrize("how", ["abort", "set", "raise"])
async def test_the_words_of_a_refusal_from_a_handler_are_no_refusal(
    code: grpc.StatusCode, words: str, how: str
) -> None:
    """A server may hand on what it was told by the one that it has called."""
    calls = 0

    class Told(errors.CallError, issuer="TEST", code=7, grpc_code=code):
        pass

    async def repeats(_: bytes, context: Any) -> bytes:
        nonlocal calls
        calls += 1
        text = words.format(port)
        if how == "raise":
            raise Told(text)
        if how == "abort":
            await context.abort(code, text)
        context.set_code(code)
        context.set_details(text)
        return b""

    server = hrpc.new_server(hrpc.with_server_name("peer"), hrpc.with_listen_port(0, host="127.0.0.1"))
    add_echo(server, Repeats=repeats)
    async with server:
        port = int(server.address.rpartition(":")[2])
        async with fleet((port,)) as found:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(found.channel, "Repeats")
            assert calls == 1


async def test_an_hrpc_server_that_stops_under_load_runs_each_call_once_and_none_fails() -> None:
    """Without Consul and without a delay nobody is warned; what it had not begun goes to the other one."""
    ran: list[bytes] = []  # by several threads

    async def work(request: bytes, _: Any) -> bytes:
        ran.append(request)
        await asyncio.sleep(0.001)
        return request

    def a_server(name: str) -> hrpc.Server:
        server = hrpc.new_server(
            hrpc.with_server_name(name),
            hrpc.with_listen_port(0, host="127.0.0.1"),
            hrpc.with_graceful_stop(drain_delay=0, grace=10),
            hrpc.with_audit_log(enabled=False),
        )
        add_echo(server, Work=work)
        return server

    async def load(worker: int) -> None:
        number = 0
        while not stopped.is_set() or number < 20:
            number += 1
            request = f"{worker}.{number}".encode()
            assert await call(found.channel, "Work", request, timeout=20) == request

    stopped = asyncio.Event()
    async with elsewhere(lambda: a_server("stays")) as address:
        stays = int(address.rpartition(":")[2])
        for _ in range(3):
            leaving = a_server("leaves")
            async with leaving:
                ports = (int(leaving.address.rpartition(":")[2]), stays)
                async with fleet(ports) as found:
                    stopped.clear()
                    async with asyncio.TaskGroup() as tasks:
                        for worker in range(50):
                            tasks.create_task(load(worker))
                        while len(ran) < 500:
                            await asyncio.sleep(0.001)
                        await leaving.stop()
                        stopped.set()
            assert len(set(ran)) == len(ran) >= 1000
            ran.clear()
