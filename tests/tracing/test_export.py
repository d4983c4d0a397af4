"""Where spans go: they reach their collector before a server has stopped, or stdout, or the processors of the user."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import trace

import hrpc
from tests.echo import call
from tests.process import running, script
from tests.tracing.collector import collecting
from tests.tracing.exporting import a_server, tracer, work
from tests.tracing.spans import Spans

NOT_BY_ITSELF = "3600000"
"""Milliseconds until spans are sent though nothing ends: on a busy machine, the usual five seconds may be over soon."""


async def test_the_last_spans_reach_the_collector_before_the_server_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", NOT_BY_ITSELF)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=shop,service.version=of the variable")
        registration = hrpc.with_registration(version="1.2.3")
        async with a_server(registration, hrpc.with_environment("staging")):  # the variable alone turns it on
            work()
            assert collector.spans == []
        assert collector.names == ["work"]
    (resource,) = collector.resources
    assert resource.pop("service.instance.id")
    assert {key: value for key, value in resource.items() if not key.startswith("telemetry.")} == {
        "service.name": "traced",
        "service.version": "of the variable",
        "service.namespace": "shop",
        "deployment.environment.name": "staging",
    }


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_service_that_is_told_to_end_sends_its_last_spans(loop: str, tmp_path: Path, free_port: int) -> None:
    options = (f'hrpc.with_listen_port({free_port}, "127.0.0.1")', f'hrpc.with_event_loop("{loop}")')
    async with collecting() as collector:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": NOT_BY_ITSELF}
        async with running(script(tmp_path, *options), environ) as process:
            await process.says("serves on port")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
                await call(channel, "Echo")
            assert collector.spans == []
            process.send(signal.SIGTERM)
            assert await process.ended() == 0, process.output
        assert collector.names == ["test.Echo/Echo"]
        assert collector.resources[0]["service.name"] == "tested"


async def test_a_second_server_of_the_process_sends_its_spans_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        async with collecting() as collector:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
            async with a_server(hrpc.with_tracing(), hrpc.with_server_name(name)):
                work(name)
            assert collector.names == [name]
            assert collector.resources[0]["service.name"] == name
    work("after")


async def test_processors_of_the_user_serve_one_life_after_another(spans: Spans) -> None:
    server = a_server(spans.option())
    for name in ("first", "second"):
        async with server:
            work(name)
    assert [span.name for span in spans.ended] == ["first", "second"]


async def test_spans_of_the_user_follow_the_decorator_the_task_and_the_thread(spans: Spans) -> None:
    @tracer.start_as_current_span("decorated")  # at import, when no server runs
    async def decorated() -> None:
        await asyncio.to_thread(work, "in a thread")
        await asyncio.create_task(in_a_task())

    async def in_a_task() -> None:
        work("in a task")

    async with a_server(spans.option()):
        await decorated()
    decorated_span = spans.one("decorated")
    assert decorated_span.context is not None
    for name in ("in a thread", "in a task"):
        parent = spans.one(name).parent
        assert parent is not None
        assert parent.span_id == decorated_span.context.span_id


async def test_a_trace_begun_in_a_background_context_has_its_trace_id(spans: Spans) -> None:
    async with a_server(spans.option()):
        with hrpc.background_context() as context:
            work()
    found = spans.one("work").context
    assert found is not None
    assert trace.format_trace_id(found.trace_id) == context.trace_id


async def test_the_console_gets_one_line_of_json_for_each_span(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    async with a_server():
        work()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (span,) = [line for line in lines if "context" in line]
    assert span["name"] == "work"
    assert span["resource"]["attributes"]["service.name"] == "traced"


async def test_http_is_spoken_where_the_variables_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        serving = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{http.server_port}")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            async with a_server():
                work()
        finally:
            http.shutdown()
            serving.join()
    assert paths == ["/v1/traces"]
