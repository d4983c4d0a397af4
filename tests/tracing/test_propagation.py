"""What strangers send of their trace."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context as OTelContext

from hrpc import context
from hrpc.context import BAGGAGE, TRACEPARENT, TRACESTATE
from hrpc.tracing import propagation

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PART = st.text('aZ0@_-*/;% +"\\é~', max_size=8)
LIKELY = st.lists(st.tuples(PART, PART).map("=".join) | PART, max_size=40).map(",".join)


@given(state=LIKELY, told=LIKELY)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_state_or_baggage_breaks_or_logs_anything(state: str, told: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="opentelemetry"):
        received = context.from_metadata(((TRACEPARENT, PARENT), (TRACESTATE, state), (BAGGAGE, told)))
        found = propagation.received(received, OTelContext())
        span = trace.get_current_span(found)
        sent = dict(propagation.sent(span, found, True))
    # An exporter of another test may still say in its thread that it gives up.
    assert [record for record in caplog.records if record.thread == threading.get_ident()] == []
    assert sent[TRACEPARENT] == PARENT
    again = context.from_metadata(sent.items())
    assert baggage.get_all(propagation.received(again, OTelContext())) == baggage.get_all(found)
    returned = trace.get_current_span(propagation.received(again, OTelContext()))
    assert returned.get_span_context() == span.get_span_context()


@pytest.mark.parametrize("header", ["=" * 8192, "a=" * 4096, "a=1," * 2048, " " * 8192, "a" * 8192, "a= " + " " * 8000])
def test_a_long_header_is_read_in_no_time(header: str) -> None:
    received = context.from_metadata(((TRACEPARENT, PARENT), (TRACESTATE, header), (BAGGAGE, header)))
    took = []
    for _ in range(3):  # the collector of garbage may take its turn in one of them
        began = time.thread_time()
        propagation.received(received, OTelContext())
        took.append(time.thread_time() - began)
    assert min(took) < 0.05


@pytest.mark.parametrize(
    ("header", "pairs"),
    [
        ("a=1,b=2", {"a": "1", "b": "2"}),
        (" a=1 , vendor@tenant=x y,", {"a": "1", "vendor@tenant": "x y"}),
        ("a=1,a=2", {}),
        ("a=1,B=2", {}),
        ("a=1,0=2", {}),
        (",".join(f"k{number}=v" for number in range(33)), {}),
    ],
)
def test_a_state_is_taken_as_a_whole_or_not_at_all(header: str, pairs: dict[str, str]) -> None:
    received = context.from_metadata(((TRACEPARENT, PARENT), (TRACESTATE, header)))
    span = trace.get_current_span(propagation.received(received, OTelContext())).get_span_context()
    assert dict(span.trace_state) == pairs
