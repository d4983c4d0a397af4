"""Servers with tracing, and spans for them to send."""

from __future__ import annotations

from opentelemetry import trace

import hrpc
from tests.echo import add_echo

tracer = trace.get_tracer("tests")


def a_server(*options: hrpc.Option) -> hrpc.Server:
    common = (hrpc.with_server_name("traced"), hrpc.with_listen_port(0, host="127.0.0.1"))
    server = hrpc.new_server(*common, *options)
    add_echo(server)
    return server


def work(name: str = "work") -> None:
    """Makes a span."""
    with tracer.start_as_current_span(name):
        pass
