"""A span processor of the program's that fails costs spans, and no answer."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

import hrpc
from tests.echo import add_echo, call, handled


class Fails(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise ValueError("s3cret")


async def test_a_call_is_answered_and_logged_when_its_span_cannot_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    local = hrpc.with_listen_port(0, host="127.0.0.1")
    server = hrpc.new_server(hrpc.with_server_name("spans"), local, hrpc.with_tracing(processors=[Fails()]))
    add_echo(server)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        for _number in range(3):
            assert await call(channel, "Echo", b"a", timeout=30) == b"a"
        assert await handled(server, "Echo") == {grpc.StatusCode.OK: 3}
    lines = capsys.readouterr().out.splitlines()
    assert sum('"category":"audit"' in line for line in lines) == 3
    assert sum("a span could not be ended" in line for line in lines) == 1
