"""Programs without OpenTelemetry, and those that have set a provider of their own."""

from __future__ import annotations

import os
import subprocess
import sys


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


def test_a_provider_that_the_program_has_set_is_used_and_left_running() -> None:
    ended = run(OWN_PROVIDER)
    assert ended.returncode == 0, ended.stderr
    assert "['asked', 'after']" in ended.stdout


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
