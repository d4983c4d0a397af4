"""Where spans go: to a collector, to stdout, to a provider of the program's own, or nowhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry import trace

import hrpc
from hrpc.errors import OptionError, StartError
from tests.echo import add_echo, call
from tests.eventually import eventually
from tests.process import running, script
from tests.tracing.collector import collecting
from tests.tracing.conftest import Spans

tracer = trace.get_tracer("tests")


def a_server(*options: hrpc.Option) -> hrpc.Server:
    common = (hrpc.with_server_name("traced"), hrpc.with_listen_port(0, host="127.0.0.1"))
    server = hrpc.new_server(*common, *options)
    add_echo(server)
    return server


def work(name: str = "work") -> None:
    with tracer.start_as_current_span(name):
        pass


def run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own, where the provider is not set yet."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": os.getcwd(), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_the_last_spans_reach_the_collector_before_the_server_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
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
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
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


async def test_a_collector_that_is_away_costs_spans_and_one_line(
    monkeypatch: pytest.MonkeyPatch, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:secret@127.0.0.1:{free_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    said: list[str] = []

    async def has_failed() -> bool:
        said.append(capsys.readouterr().out)
        return "fails" in "".join(said)

    async with a_server():
        work()
        await eventually(has_failed)
        began = time.monotonic()
        for _ in range(1000):
            work()
        assert time.monotonic() - began < 1
        began = time.monotonic()
    assert time.monotonic() - began < 2
    lines = [json.loads(line) for line in ("".join(said) + capsys.readouterr().out).splitlines()]
    told = [line["msg"] for line in lines if line["level"] not in ("info", "debug")]
    assert len(told) == 1
    assert told[0].startswith("tracing: OTLPSpanExporter fails, and its spans are lost until it works again: ")
    assert told[0].endswith("check that the collector runs, and OTEL_EXPORTER_OTLP_ENDPOINT")
    assert "secret" not in "".join(told)


async def test_a_collector_that_refuses_and_then_takes_is_told_of_once_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
    said: list[str] = []

    async def told(word: str) -> None:
        async def is_said() -> bool:
            work()
            said.append(capsys.readouterr().out)
            return word in "".join(said)

        await eventually(is_said)

    async with collecting() as collector:
        collector.refuses = grpc.StatusCode.PERMISSION_DENIED
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        async with a_server():
            await told("PERMISSION_DENIED")
            collector.refuses = None
            await told("OTLPSpanExporter works again")
    output = "".join(said)
    assert output.count("OTLPSpanExporter fails") == 1
    assert output.count("OTLPSpanExporter works again") == 1


async def test_a_collector_that_never_answers_does_not_hold_the_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with collecting() as collector:
        collector.open.clear()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        async with a_server(hrpc.with_graceful_stop(step_limit=3)) as server:
            work()
            began = time.monotonic()
            await server.stop()
            assert time.monotonic() - began < 5
        assert collector.asked.is_set()
        collector.open.set()
    assert "tracing: the collector did not take the last spans within 2.4 s; they are lost" in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("ratio", "sampler", "argument", "recorded"),
    [
        (None, None, None, 20),
        (0, None, None, 0),
        (1.0, None, None, 20),
        (0.0, "always_on", None, 20),
        (1.0, "parentbased_traceidratio", "0", 0),
    ],
)
async def test_the_ratio_holds_unless_a_variable_says_otherwise(
    ratio: float | None,
    sampler: str | None,
    argument: str | None,
    recorded: int,
    spans: Spans,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)):
        if value is not None:
            monkeypatch.setenv(name, value)
    async with a_server(spans.option(ratio)):
        for _ in range(20):
            work()
    assert len(spans.ended) == recorded


@pytest.mark.parametrize(
    ("variables", "is_on"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_the_variables_turn_tracing_on_and_off(
    variables: dict[str, str], is_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (a_server().settings.tracing is not None) == is_on
    assert (a_server(hrpc.with_tracing()).settings.tracing is None) == ("OTEL_SDK_DISABLED" in variables)


async def test_without_an_exporter_there_are_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    async with a_server(hrpc.with_tracing()) as server:
        assert server._running is not None
        assert server._running.parts.runtime.tracer is None


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "ValueError('max_queue_size must be a positive integer.')"),
        ("OTEL_TRACES_EXPORTER", "zipkinn", "OTEL_TRACES_EXPORTER='zipkinn': there is no such exporter; "),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/xml", "OTEL_EXPORTER_OTLP_PROTOCOL='http/xml': takes grpc or http/proto"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "OTEL_TRACES_EXPORTER: 'otlp_proto_grpc' cannot be used: "),
    ],
)
async def test_a_variable_that_cannot_be_is_an_error_of_the_start(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartError) as error:
        async with a_server(hrpc.with_tracing()):
            pass
    assert f"] tracing: {message}" in str(error.value)


async def test_an_exporter_whose_package_is_missing_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(StartError, match=r"exporter 'otlp_proto_grpc' cannot be used: .*; pip install 'hrpc\[otel\]'"):
        async with a_server(hrpc.with_tracing()):
            pass


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), "1", True])
def test_a_ratio_that_is_none_is_refused(ratio: Any) -> None:
    with pytest.raises(OptionError, match=r"takes a number from 0 \(no trace\) to 1"):
        hrpc.with_tracing(ratio)


def test_a_processor_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match="is not a span processor"):
        hrpc.with_tracing(processors=["otlp"])


NOT_INSTALLED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import asyncio, hrpc
"""
SERVED = """
import grpc
async def main():
    server = hrpc.new_server(hrpc.with_server_name("bare"), hrpc.with_listen_port(0, host="127.0.0.1"))
    server.add_registered_method_handlers("a.B", {"C": grpc.unary_unary_rpc_method_handler(main)})
    async with server:
        print("served")
asyncio.run(main())
assert not [name for name in sys.modules if name.startswith(("opentelemetry", "hrpc.tracing"))]
"""


def test_without_opentelemetry_the_option_says_what_to_install() -> None:
    ended = run(NOT_INSTALLED + "hrpc.with_tracing()")
    assert ended.returncode == 1
    assert "hrpc.with_tracing needs OpenTelemetry, which is not installed: pip install 'hrpc[otel]'" in ended.stderr


def test_without_opentelemetry_the_variables_are_a_warning_and_the_server_serves() -> None:
    ended = run(NOT_INSTALLED + SERVED, OTEL_TRACES_EXPORTER="otlp")
    assert ended.returncode == 0, ended.stderr
    assert "served" in ended.stdout
    warnings = [line for line in ended.stdout.splitlines() if '"warning"' in line]
    assert len(warnings) == 1
    assert "OTEL_* variables ask for tracing, but OpenTelemetry is not installed" in warnings[0]
    assert '"warning"' not in run(NOT_INSTALLED + SERVED).stdout


def test_a_server_without_tracing_imports_nothing_of_it() -> None:
    ended = run("import asyncio, sys, hrpc\n" + SERVED)
    assert ended.returncode == 0, ended.stderr


OWN_PROVIDER = """
import asyncio, hrpc
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

async def main():
    async with hrpc.new_server(
        hrpc.with_server_name("own"), hrpc.with_listen_port(0, host="127.0.0.1"), hrpc.with_tracing()
    ) as server:
        server._running.parts.runtime.tracer.request("asked", {}).end()
    assert trace.get_tracer_provider() is provider
    with trace.get_tracer("after").start_as_current_span("after"):
        pass
    print([span.name for span in exporter.get_finished_spans()])

asyncio.run(main())
"""


NO_OP_PROVIDER = """
import asyncio, grpc.aio, hrpc
from opentelemetry import trace
from tests.echo import add_echo, call

trace.set_tracer_provider(trace.NoOpTracerProvider())
server = hrpc.new_server(
    hrpc.with_server_name("own"), hrpc.with_listen_port(0, host="127.0.0.1"), hrpc.with_tracing()
)

async def asks(request, context):
    interceptors = hrpc.client_interceptors()
    async with grpc.aio.insecure_channel(server.address, interceptors=interceptors) as channel:
        return await call(channel, "Tells")

async def tells(request, context):
    return dict(context.invocation_metadata())["traceparent"].encode()

add_echo(server, Asks=asks, Tells=tells)

async def main():
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        print((await call(channel, "Asks", metadata=(("traceparent", parent),))).decode())

asyncio.run(main())
"""


def test_with_a_provider_that_does_nothing_the_trace_still_goes_on() -> None:
    ended = run(NO_OP_PROVIDER)
    assert ended.returncode == 0, ended.stderr
    assert "00-0af7651916cd43dd8448eb211c80319c-" in ended.stdout


def test_a_provider_that_the_program_has_set_is_used_and_left_running() -> None:
    ended = run(OWN_PROVIDER)
    assert ended.returncode == 0, ended.stderr
    assert "['asked', 'after']" in ended.stdout
