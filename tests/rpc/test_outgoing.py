"""Calls that a handler makes: the trace goes along, and less of the deadline at each hop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import context, errors, from_thread
from hrpc.context import METADATA_KEY
from hrpc.rpc import outgoing
from tests.echo import SERVICE, add_echo, call
from tests.elsewhere import elsewhere

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def a_server(name: str, *options: hrpc.Option, **methods: Any) -> hrpc.Server:
    server = hrpc.new_server(hrpc.with_server_name(name), hrpc.with_listen_port(0, host="127.0.0.1"), *options)
    add_echo(server, **methods)
    return server


def asking(address: str, *, timeout: float | None = None) -> Any:
    """A handler that puts what it sees before what the next service saw."""

    async def ask(_: bytes, call_: Any) -> bytes:
        async with grpc.aio.insecure_channel(address, interceptors=hrpc.client_interceptors()) as channel:
            beyond = json.loads(await call(channel, "Ask", timeout=timeout))
        return json.dumps([seen(call_), *beyond]).encode()

    return ask


async def last(_: bytes, call_: Any) -> bytes:
    return json.dumps([seen(call_)]).encode()


def seen(call_: Any) -> dict[str, Any]:
    current = context.current()
    assert current is not None
    remaining = call_.time_remaining()
    metadata = {key: value for key, value in call_.invocation_metadata() if isinstance(value, str)}
    return {"left": remaining, "trace": current.trace_id, "from": current.server_name, "metadata": metadata}


async def through_three(*metadata: tuple[str, str], timeout: float | None = None) -> list[dict[str, Any]]:
    """A calls B, and B calls C; gives what each saw."""
    async with (
        elsewhere(lambda: a_server("c", Ask=last)) as c,
        elsewhere(lambda: a_server("b", Ask=asking(c))) as b,
        elsewhere(lambda: a_server("a", Ask=asking(b))) as a,
        grpc.aio.insecure_channel(a) as channel,
    ):
        found: list[dict[str, Any]] = json.loads(await call(channel, "Ask", metadata=metadata, timeout=timeout))
        return found


async def test_each_hop_has_less_of_the_deadline_than_the_one_before() -> None:
    a, b, c = await through_three(timeout=60.0)
    assert a["left"] > b["left"] > c["left"] > 30.0
    # The message says the same, for services that read nothing else.
    of_message = json.loads(c["metadata"][METADATA_KEY])["request_timeout"] / 1e9
    assert of_message == pytest.approx(c["left"], abs=10.0)


async def test_a_deadline_of_the_message_alone_goes_on_as_one_of_grpc() -> None:
    _, b, c = await through_three((METADATA_KEY, '{"trace_id":"go.1","request_timeout":60000000000}'))
    assert 60.0 > b["left"] > c["left"] > 30.0
    assert (b["trace"], c["trace"]) == ("go.1", "go.1")
    assert (b["from"], c["from"]) == ("a", "b")


async def test_without_a_deadline_none_is_made_up() -> None:
    assert [seen["left"] for seen in await through_three()] == [None, None, None]


async def test_w3c_context_goes_through_with_a_span_for_each_hop() -> None:
    hops = await through_three(("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "k=v"))
    parents = [hop["metadata"]["traceparent"] for hop in hops]
    assert {parent[:35] for parent in parents} == {PARENT[:35]}
    assert len({parent[36:52] for parent in parents}) == 3
    assert {parent[-2:] for parent in parents} == {"01"}
    assert {(hop["metadata"]["tracestate"], hop["metadata"]["baggage"]) for hop in hops} == {("a=1", "k=v")}


async def test_a_late_answer_is_noticed_in_time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # More room than in use, for a machine with other things to do.
    monkeypatch.setattr(outgoing, "MARGIN", 60.0)
    monkeypatch.setattr(outgoing, "MARGIN_SHARE", 0.98)

    async def never(_: bytes, __: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    noticed: list[grpc.StatusCode] = []

    async with elsewhere(lambda: a_server("slow", Ask=never)) as address:

        async def ask(_: bytes, __: Any) -> bytes:
            async with grpc.aio.insecure_channel(address, interceptors=hrpc.client_interceptors()) as channel:
                try:
                    await call(channel, "Ask")
                except grpc.aio.AioRpcError as error:
                    noticed.append(error.code())
                    return b"something else instead"
            return b""

        async with a_server("a", Ask=ask) as server, grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Ask", timeout=20.0) == b"something else instead"
        async with a_server("b", Ask=asking(address)) as server:
            async with grpc.aio.insecure_channel(server.address) as channel:
                metadata = ((METADATA_KEY, '{"request_timeout":20000000000}'),)
                with pytest.raises(grpc.aio.AioRpcError, match="an upstream did not answer in time") as caught:
                    await call(channel, "Ask", metadata=metadata)
                assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert noticed == [grpc.StatusCode.DEADLINE_EXCEEDED]


async def test_a_caller_that_wants_less_gets_less() -> None:
    async with elsewhere(lambda: a_server("c", Ask=last)) as c:
        async with a_server("b", Ask=asking(c, timeout=30.0)) as b, grpc.aio.insecure_channel(b.address) as channel:
            _, beyond = json.loads(await call(channel, "Ask", timeout=60.0))
            assert 15 < beyond["left"] < 30.1
            _, beyond = json.loads(await call(channel, "Ask", timeout=15.0))
            assert beyond["left"] < 16  # gRPC adds a little for the way


async def test_a_handler_in_a_thread_passes_its_context_on() -> None:
    async with elsewhere(lambda: a_server("c", Ask=last)) as c:

        def ask(request: bytes, call_: Any) -> bytes:
            return from_thread.run(asking(c), request, call_)

        async with a_server("b", Ask=ask) as b, grpc.aio.insecure_channel(b.address) as channel:
            metadata = ((METADATA_KEY, '{"trace_id":"go.1"}'),)
            own, beyond = json.loads(await call(channel, "Ask", timeout=30.0, metadata=metadata))
            assert beyond["left"] < own["left"] < 30.2
            assert (beyond["trace"], beyond["from"]) == ("go.1", "b")


async def test_all_kinds_of_calls_go_through_the_interceptors() -> None:
    async with a_server("echo") as server:
        channel = grpc.aio.insecure_channel(server.address, interceptors=hrpc.client_interceptors())
        async with channel:
            with hrpc.background_context(60.0):
                unary = call(channel, "Echo", b"a")
                assert await unary == b"a"
                assert await unary.code() is grpc.StatusCode.OK
                repeat = channel.unary_stream(f"/{SERVICE}/Repeat")(b"a")
                assert [part async for part in repeat] == [b"a"] * 3
                assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])) == b"ab"

                async def parts() -> AsyncIterator[bytes]:
                    yield b"a"
                    yield b"b"

                each = channel.stream_stream(f"/{SERVICE}/Each")(parts())
                assert [part async for part in each] == [b"a", b"b"]
                written = channel.stream_stream(f"/{SERVICE}/Each")()
                await written.write(b"c")
                await written.done_writing()
                assert [part async for part in written] == [b"c"]


async def test_a_key_that_the_caller_gives_itself_is_left_alone() -> None:
    async with a_server("c", Ask=last) as server:
        channel = grpc.aio.insecure_channel(server.address, interceptors=hrpc.client_interceptors())
        async with channel:
            with hrpc.background_context(60.0):
                (found,) = json.loads(await call(channel, "Ask", metadata=((METADATA_KEY, '{"trace_id":"own"}'),)))
    assert found["trace"] == "own"


class Waiting(grpc.aio.UnaryUnaryClientInterceptor):
    """As those of users that retry or cache: it gives the response, and not the call."""

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await (await continuation(details, request))


async def test_an_interceptor_of_the_user_may_wait_for_the_response() -> None:
    async def away(_: bytes, __: Any) -> bytes:
        raise errors.Unavailable("for now")

    refused = 0
    interceptors = [*hrpc.client_interceptors(), Waiting()]
    async with a_server("waiting", hrpc.with_circuit_breaker(calls=5, per="method"), Away=away) as server:
        async with grpc.aio.insecure_channel(server.address, interceptors=interceptors) as channel:
            assert await call(channel, "Echo", b"a") == b"a"
            for _number in range(10):
                try:
                    await call(channel, "Away")
                except errors.BreakerOpen:
                    refused += 1
                except errors.Unavailable as error:
                    assert error.message == "for now"
    assert refused == 10 - 5


async def test_metadata_may_be_anything_that_gives_pairs() -> None:
    pairs = [("a", "1"), ("b-bin", b"2")]
    async with a_server("c", Ask=last) as server:
        channel = grpc.aio.insecure_channel(server.address, interceptors=hrpc.client_interceptors())
        async with channel:
            with hrpc.background_context(60.0):
                for metadata in (tuple(pairs), pairs, grpc.aio.Metadata(*pairs), None):
                    (found,) = json.loads(await call(channel, "Ask", metadata=metadata))
                    assert found["metadata"].get("a") == ("1" if metadata else None)
                    assert METADATA_KEY in found["metadata"]
                made = outgoing.of_the_server().metadata(iter(pairs), None)
                assert [key for key, _ in made] == ["a", "b-bin", METADATA_KEY]
