"""Calls that go on to other services: one trace, in which each knows its parent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

import hrpc
from hrpc import Consul, service
from hrpc.testing.servers import ConsulServer
from tests.echo import SERVICE, add_echo, call
from tests.elsewhere import elsewhere
from tests.tracing.spans import Spans, ended, ids, parent

tracer = trace.get_tracer("tests")


def a_server(name: str, *options: hrpc.Option, **methods: Any) -> hrpc.Server:
    common = (hrpc.with_server_name(name), hrpc.with_listen_port(0, host="127.0.0.1"))
    server = hrpc.new_server(*common, *options, hrpc.with_graceful_stop(drain_delay=0))
    add_echo(server, **methods)
    return server


def asking(address: str, method: str) -> Any:
    """A handler that asks the next service."""

    async def ask(request: bytes, _: Any) -> bytes:
        async with grpc.aio.insecure_channel(address, interceptors=hrpc.client_interceptors()) as channel:
            answer: bytes = await call(channel, method, request)
            return answer

    return ask


@asynccontextmanager
async def caller(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address, interceptors=hrpc.client_interceptors()) as channel:
        yield channel


def of_kind(spans: Spans, method: str, kind: SpanKind) -> ReadableSpan:
    (span,) = [span for span in spans.named(f"{SERVICE}/{method}") if span.kind is kind]
    return span


async def last(_: bytes, call_: Any) -> bytes:
    return json.dumps({key: value for key, value in call_.invocation_metadata() if isinstance(value, str)}).encode()


async def test_calls_through_three_services_are_one_trace_with_the_right_parents(spans: Spans) -> None:
    async with (
        elsewhere(lambda: a_server("c", spans.option(), AskC=last)) as c,
        elsewhere(lambda: a_server("b", spans.option(), AskB=asking(c, "AskC"))) as b,
        elsewhere(lambda: a_server("a", spans.option(), AskA=asking(b, "AskB"))) as a,
        grpc.aio.insecure_channel(a) as channel,
    ):
        seen = json.loads(await call(channel, "AskA"))
        await ended(spans, f"{SERVICE}/AskA")
        await ended(spans, f"{SERVICE}/AskB", 2)
        await ended(spans, f"{SERVICE}/AskC", 2)
    chain = [
        of_kind(spans, "AskA", SpanKind.SERVER),
        of_kind(spans, "AskB", SpanKind.CLIENT),
        of_kind(spans, "AskB", SpanKind.SERVER),
        of_kind(spans, "AskC", SpanKind.CLIENT),
        of_kind(spans, "AskC", SpanKind.SERVER),
    ]
    assert len({ids(span)[0] for span in chain}) == 1
    assert [parent(span) for span in chain] == ["", *(ids(span)[1] for span in chain[:-1])]
    assert [span.resource.attributes["service.name"] for span in chain] == ["a", "a", "b", "b", "c"]
    assert seen["traceparent"] == f"00-{ids(chain[3])[0]}-{ids(chain[3])[1]}-01"
    assert json.loads(seen["hrpc_md_message"])["trace_id"] == ids(chain[0])[0]


async def test_a_service_that_does_not_record_passes_the_decision_on(spans: Spans) -> None:
    async with (
        elsewhere(lambda: a_server("b", spans.option(), AskB=last)) as b,
        elsewhere(lambda: a_server("a", spans.option(0), AskA=asking(b, "AskB"))) as a,
        grpc.aio.insecure_channel(a) as channel,
    ):
        assert json.loads(await call(channel, "AskA"))["traceparent"].endswith("-00")
    assert spans.ended == []


async def test_a_call_of_service_channel_is_a_span_that_names_the_service_and_the_instance(
    consul: ConsulServer, spans: Spans
) -> None:
    in_consul = hrpc.with_consul(Consul(address=consul.address))

    async def ask(request: bytes, _: Any) -> bytes:
        async with service.channel("traced-b") as channel:
            answer: bytes = await call(channel, "AskB", request)
            return answer

    async with elsewhere(lambda: a_server("traced-b", spans.option(), in_consul, AskB=last)) as b:
        async with (
            a_server("traced-a", spans.option(), in_consul, AskA=ask) as a,
            grpc.aio.insecure_channel(a.address) as channel,
        ):
            await call(channel, "AskA")
            await ended(spans, f"{SERVICE}/AskA")
            await ended(spans, f"{SERVICE}/AskB", 2)
    calling = of_kind(spans, "AskB", SpanKind.CLIENT)
    assert parent(calling) == ids(of_kind(spans, "AskA", SpanKind.SERVER))[1]
    assert parent(of_kind(spans, "AskB", SpanKind.SERVER)) == ids(calling)[1]
    assert dict(calling.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/AskB",
        "rpc.response.status_code": "OK",
        "server.address": "traced-b",
        "network.peer.address": "127.0.0.1",
        "network.peer.port": int(b.rpartition(":")[2]),
    }


async def test_all_kinds_of_calls_end_their_span_with_their_last_response(spans: Spans) -> None:
    async with a_server("echo", spans.option()) as server, caller(server.address) as channel:
        assert await call(channel, "Echo", b"a") == b"a"
        assert [part async for part in channel.unary_stream(f"/{SERVICE}/Repeat")(b"a")] == [b"a"] * 3
        assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])) == b"ab"
        assert [part async for part in channel.stream_stream(f"/{SERVICE}/Each")(iter([b"a"]))] == [b"a"]
        for method in ("Echo", "Repeat", "Join", "Each"):
            await ended(spans, f"{SERVICE}/{method}", 2)
            made, served = of_kind(spans, method, SpanKind.CLIENT), of_kind(spans, method, SpanKind.SERVER)
            assert parent(served) == ids(made)[1]
            assert (made.attributes or {})["rpc.response.status_code"] == "OK"


async def test_every_code_but_ok_is_an_error_for_who_calls(spans: Spans) -> None:
    async def aborts(_: bytes, call_: Any) -> bytes:
        await call_.abort(grpc.StatusCode.NOT_FOUND, "secret")
        return b""

    async with a_server("echo", spans.option(), Aborts=aborts) as server, caller(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, "Aborts")
        await ended(spans, f"{SERVICE}/Aborts", 2)
    made, served = of_kind(spans, "Aborts", SpanKind.CLIENT), of_kind(spans, "Aborts", SpanKind.SERVER)
    assert (made.status.status_code, served.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert (made.attributes or {})["error.type"] == "NOT_FOUND"
    assert "secret" not in made.to_json()


async def test_a_call_that_is_given_up_and_one_that_reaches_nobody_end_their_spans(
    spans: Spans, free_port: int
) -> None:
    async with a_server("caller", spans.option()) as server:
        async with caller(f"127.0.0.1:{free_port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(channel, "Nobody")
            (nobody,) = await ended(spans, f"{SERVICE}/Nobody")
        entered = asyncio.Event()

        async def waits(_: bytes, __: Any) -> bytes:
            entered.set()
            await asyncio.Event().wait()
            return b""

        async with elsewhere(lambda: a_server("slow", Waits=waits)) as address, caller(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(channel, "Waits", timeout=0.1)
            (late,) = await ended(spans, f"{SERVICE}/Waits")
        assert server.port
    assert (nobody.attributes or {})["rpc.response.status_code"] == "UNAVAILABLE"
    assert (late.attributes or {})["rpc.response.status_code"] == "DEADLINE_EXCEEDED"


async def test_a_span_of_the_user_is_the_parent_and_its_baggage_goes_along(spans: Spans) -> None:
    async with a_server("echo", spans.option(), Ask=last) as server, caller(server.address) as channel:
        with tracer.start_as_current_span("mine"):
            token = context.attach(baggage.set_baggage("tier", "gold & more"))
            seen = json.loads(await call(channel, "Ask"))
            context.detach(token)
        await ended(spans, f"{SERVICE}/Ask", 2)
    assert seen["baggage"] == "tier=gold%20%26%20more"
    assert parent(of_kind(spans, "Ask", SpanKind.CLIENT)) == ids(spans.one("mine"))[1]


async def test_a_trace_id_of_a_go_service_goes_on_in_both_forms(spans: Spans) -> None:
    async with (
        elsewhere(lambda: a_server("b", spans.option(), AskB=last)) as b,
        elsewhere(lambda: a_server("a", spans.option(), AskA=asking(b, "AskB"))) as a,
        grpc.aio.insecure_channel(a) as channel,
    ):
        message = (("hrpc_md_message", '{"trace_id":"go.1"}'),)
        seen = json.loads(await call(channel, "AskA", metadata=message))
        await ended(spans, f"{SERVICE}/AskB", 2)
        await ended(spans, f"{SERVICE}/AskA")
    assert json.loads(seen["hrpc_md_message"])["trace_id"] == "go.1"
    assert len({ids(span)[0] for span in spans.ended}) == 1
    served = of_kind(spans, "AskB", SpanKind.SERVER)
    assert (served.attributes or {})["hrpc.trace_id"] == "go.1"
