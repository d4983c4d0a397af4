"""The spans of calls that are served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry import baggage, trace
from opentelemetry.trace import SpanKind, StatusCode

import hrpc
from hrpc import context
from tests.echo import SERVICE, add_echo, call
from tests.tracing.spans import Spans, ended, ids, parent

tracer = trace.get_tracer("tests")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@asynccontextmanager
async def serving(*options: hrpc.Option, **methods: Any) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server with these methods beside those of the echo servicer."""
    server = hrpc.new_server(hrpc.with_server_name("traced"), hrpc.with_listen_port(0, host="127.0.0.1"), *options)
    add_echo(server, **methods)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        yield channel


async def test_a_call_is_a_span_with_the_standard_attributes(spans: Spans) -> None:
    async with serving(spans.option()) as channel:
        await call(channel, "Echo")
        (span,) = await ended(spans, f"{SERVICE}/Echo")
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    attributes = dict(span.attributes or {})
    assert isinstance(attributes.pop("network.peer.port"), int)
    assert attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/Echo",
        "rpc.response.status_code": "OK",
        "network.peer.address": "127.0.0.1",
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "hrpc"


async def test_every_kind_of_call_is_a_span(spans: Spans) -> None:
    async with serving(spans.option()) as channel:
        await call(channel, "EchoInThread")
        for method in ("Repeat", "RepeatInThread"):
            assert [part async for part in channel.unary_stream(f"/{SERVICE}/{method}")(b"a")]
        await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"]))
        assert [part async for part in channel.stream_stream(f"/{SERVICE}/Each")(iter([b"a"]))]
        for method in ("EchoInThread", "Repeat", "RepeatInThread", "Join", "Each"):
            assert len(await ended(spans, f"{SERVICE}/{method}")) == 1


async def test_the_callers_span_is_the_parent_and_its_state_and_baggage_are_there(spans: Spans) -> None:
    async def tells(_: bytes, __: Any) -> bytes:
        return json.dumps(dict(baggage.get_all())).encode()

    sent = (
        ("traceparent", f"00-{TRACE}-{PARENT}-01"),
        ("tracestate", "vendor=1,other=a b"),
        ("baggage", "user=ann%20b;p=1, broken, tier=gold"),
    )
    async with serving(spans.option(0), Tells=tells) as channel:  # the caller has decided: the ratio does not count
        assert json.loads(await call(channel, "Tells", metadata=sent)) == {"user": "ann b", "tier": "gold"}
        (span,) = await ended(spans, f"{SERVICE}/Tells")
    assert ids(span)[0] == TRACE
    assert parent(span) == PARENT
    assert span.parent is not None
    assert span.parent.is_remote
    assert span.context is not None
    assert dict(span.context.trace_state) == {"vendor": "1", "other": "a b"}


async def test_what_a_caller_does_not_record_is_not_recorded(spans: Spans) -> None:
    async with serving(spans.option(), Ids=tells_ids) as channel:
        answer = await call(channel, "Ids", metadata=(("traceparent", f"00-{TRACE}-{PARENT}-00"),))
    trace_id, span_id, sampled = json.loads(answer)
    assert (trace_id, sampled) == (TRACE, False)
    assert span_id not in ("", PARENT)
    assert spans.ended == []


async def tells_ids(_: bytes, __: Any) -> bytes:
    current = context.current()
    assert current is not None
    return json.dumps([current.trace_id, current.span_id, current.sampled]).encode()


async def test_the_context_has_the_ids_of_the_span(spans: Spans) -> None:
    async with serving(spans.option(), Ids=tells_ids) as channel:
        answers = [json.loads(await call(channel, "Ids")) for _ in range(2)]
        found = await ended(spans, f"{SERVICE}/Ids", 2)
    assert answers == [[*ids(span), True] for span in found]
    assert answers[0][0] != answers[1][0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(TRACE, TRACE), ("abcd", None), ("5d2" * 20 + "a4f1.1099511627776", None), ("0" * 32, None)],
)
async def test_a_trace_id_of_a_go_service_is_kept_in_the_log_and_found_on_the_span(
    given: str, expected: str | None, spans: Spans
) -> None:
    message = (("hrpc_md_message", json.dumps({"trace_id": given})),)
    async with serving(spans.option(), Ids=tells_ids) as channel:
        answers = [json.loads(await call(channel, "Ids", metadata=message)) for _ in range(2)]
        found = await ended(spans, f"{SERVICE}/Ids", 2)
    assert [answer[0] for answer in answers] == [given, given]
    assert [answer[1] for answer in answers] == [ids(span)[1] for span in found]
    assert ids(found[0])[0] == ids(found[1])[0] == (expected or ids(found[0])[0])
    assert (found[0].attributes or {}).get("hrpc.trace_id") == (None if expected else given)


@pytest.mark.parametrize(
    "sent",
    [
        (("traceparent", f"00-{TRACE}-{'0' * 16}-01"),),
        (("traceparent", "00-zz-zz-01"),),
        (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "=,=" * 500)),
        (("baggage", ",".join(f"k{number}==%zz%" for number in range(500))),),
    ],
)
async def test_what_a_hostile_caller_sends_is_neither_taken_nor_logged(
    sent: Any, spans: Spans, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(spans.option()) as channel:
        await call(channel, "Echo", metadata=sent)
        (span,) = await ended(spans, f"{SERVICE}/Echo")
    assert span.context is not None
    assert len(span.context.trace_state) == 0
    output = capsys.readouterr()
    assert {json.loads(line)["level"] for line in output.out.splitlines()} == {"info"}
    assert output.err == ""


async def test_what_a_handler_does_in_tasks_and_threads_belongs_to_its_call(spans: Spans) -> None:
    def work(name: str) -> None:
        with tracer.start_as_current_span(name):
            pass

    async def in_task() -> None:
        work("in a task")

    async def works(request: bytes, __: Any) -> bytes:
        work("in the handler")
        await asyncio.create_task(in_task())
        await asyncio.to_thread(work, "in a thread")
        return request

    def works_in_thread(request: bytes, __: Any) -> bytes:
        work("in a sync handler")
        return request

    async with serving(spans.option(), Works=works, WorksInThread=works_in_thread) as channel:
        await call(channel, "Works")
        await call(channel, "WorksInThread")
        (of_coroutine,) = await ended(spans, f"{SERVICE}/Works")
        (of_thread,) = await ended(spans, f"{SERVICE}/WorksInThread")
    for name in ("in the handler", "in a task", "in a thread"):
        assert parent(spans.one(name)) == ids(of_coroutine)[1]
    assert parent(spans.one("in a sync handler")) == ids(of_thread)[1]


async def test_a_background_context_in_a_call_begins_a_trace_of_its_own(spans: Spans) -> None:
    async def works(_: bytes, __: Any) -> bytes:
        with hrpc.background_context() as background:
            with tracer.start_as_current_span("outer"):
                tracer.start_span("inner").end()
        tracer.start_span("after").end()
        return background.trace_id.encode()

    async with serving(spans.option(), Works=works) as channel:
        trace_id = (await call(channel, "Works")).decode()
        (served,) = await ended(spans, f"{SERVICE}/Works")
    assert ids(spans.one("outer"))[0] == ids(spans.one("inner"))[0] == trace_id
    assert parent(spans.one("outer")) == ""
    assert parent(spans.one("inner")) == ids(spans.one("outer"))[1]
    assert parent(spans.one("after")) == ids(served)[1]


async def test_calls_at_the_same_time_do_not_mix_their_spans(spans: Spans) -> None:
    async def works(request: bytes, __: Any) -> bytes:
        await asyncio.sleep(0)
        with tracer.start_as_current_span("inner") as span:
            await asyncio.sleep(0)
            span.set_attribute("number", int(request))
        return await tells_ids(request, None)

    async with serving(spans.option(), Works=works) as channel:
        answers = await asyncio.gather(*(call(channel, "Works", b"%d" % number) for number in range(50)))
        await ended(spans, f"{SERVICE}/Works", 50)
    inner = {(span.attributes or {})["number"]: span for span in spans.named("inner")}
    for number, answer in enumerate(answers):
        assert parent(inner[number]) == json.loads(answer)[1]


@pytest.mark.parametrize(
    ("code", "is_error"),
    [
        (grpc.StatusCode.INTERNAL, True),
        (grpc.StatusCode.UNAVAILABLE, True),
        (grpc.StatusCode.DATA_LOSS, True),
        (grpc.StatusCode.NOT_FOUND, False),
        (grpc.StatusCode.INVALID_ARGUMENT, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, False),
    ],
)
async def test_only_what_is_the_servers_fault_is_an_error(code: grpc.StatusCode, is_error: bool, spans: Spans) -> None:
    async def aborts(_: bytes, call: Any) -> bytes:
        await call.abort(code, "secret")
        return b""

    async with serving(spans.option(), Aborts=aborts) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, "Aborts")
        (span,) = await ended(spans, f"{SERVICE}/Aborts")
    attributes = dict(span.attributes or {})
    assert attributes["rpc.response.status_code"] == code.name
    assert attributes.get("error.type") == (code.name if is_error else None)
    assert (span.status.status_code is StatusCode.ERROR) == is_error
    assert "secret" not in span.to_json()


async def test_an_exception_is_told_by_its_type_and_not_by_its_words(spans: Spans) -> None:
    async def fails(_: bytes, __: Any) -> bytes:
        raise KeyError("secret")

    async with serving(spans.option(), Fails=fails) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, "Fails")
        (span,) = await ended(spans, f"{SERVICE}/Fails")
    (event,) = span.events
    assert event.name == "exception"
    assert dict(event.attributes or {}) == {"exception.type": "KeyError"}
    assert (span.attributes or {})["error.type"] == "INTERNAL"
    assert "secret" not in span.to_json()


async def test_a_call_that_its_client_leaves_ends_its_span(spans: Spans) -> None:
    entered = asyncio.Event()

    async def waits(_: bytes, __: Any) -> bytes:
        entered.set()
        await asyncio.Event().wait()
        return b""

    async with serving(spans.option(), Waits=waits) as channel:
        waiting = call(channel, "Waits")
        async with asyncio.timeout(10):
            await asyncio.wait({asyncio.create_task(entered.wait())})
        waiting.cancel()
        (span,) = await ended(spans, f"{SERVICE}/Waits")
    assert (span.attributes or {})["rpc.response.status_code"] == "CANCELLED"
    assert span.status.status_code is StatusCode.UNSET


async def test_health_checks_are_no_spans(spans: Spans) -> None:
    async with serving(spans.option()) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest())
        await call(channel, "Echo")
        await ended(spans, f"{SERVICE}/Echo")
    assert [span.name for span in spans.ended] == [f"{SERVICE}/Echo"]


async def test_lines_of_the_log_have_the_trace_id_of_the_span(spans: Spans, capsys: pytest.CaptureFixture[str]) -> None:
    async def logs(request: bytes, __: Any) -> bytes:
        from loguru import logger

        logger.info("a line of the handler")
        return request

    async with serving(spans.option(), Logs=logs) as channel:
        await call(channel, "Logs")
        (span,) = await ended(spans, f"{SERVICE}/Logs")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (line,) = [line for line in lines if line["msg"] == "a line of the handler"]
    (audit,) = [line for line in lines if line["category"] == "audit"]
    assert line["trace_id"] == audit["trace_id"] == ids(span)[0]


async def test_other_propagators_are_used_where_the_variable_asks_for_them(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import propagate
    from opentelemetry.propagators.textmap import TextMapPropagator

    class Own(TextMapPropagator):
        def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
            (value,) = getter.get(carrier, "x-trace")
            remote = trace.SpanContext(int(value, 16), int(PARENT, 16), True, trace.TraceFlags(1))
            return trace.set_span_in_context(trace.NonRecordingSpan(remote), context)

        def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None: ...

        @property
        def fields(self) -> set[str]:
            return {"x-trace"}

    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", Own())
    async with serving(spans.option(), Ids=tells_ids) as channel:
        answer = json.loads(await call(channel, "Ids", metadata=(("x-trace", TRACE),)))
        (span,) = await ended(spans, f"{SERVICE}/Ids")
    assert answer[0] == ids(span)[0] == TRACE
    assert parent(span) == PARENT
