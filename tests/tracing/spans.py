"""Spans that a test can look at."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import hrpc
from tests.eventually import eventually


class Spans:
    """What was traced; `option` is for the server whose spans it shall be."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()

    def option(self, ratio: float | None = None) -> hrpc.Option:
        return hrpc.with_tracing(ratio, processors=[SimpleSpanProcessor(self._exporter)])

    @property
    def ended(self) -> list[ReadableSpan]:
        """In the order of their ends."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.ended if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


async def ended(spans: Spans, name: str, number: int = 1) -> list[ReadableSpan]:
    """The spans of that name; a call's ends a moment after its answer."""

    async def found() -> list[ReadableSpan]:
        return spans.named(name) if len(spans.named(name)) >= number else []

    return await eventually(found)


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Of its trace and its own."""
    assert span.context is not None
    return trace.format_trace_id(span.context.trace_id), trace.format_span_id(span.context.span_id)


def parent(span: ReadableSpan) -> str:
    """The id of its parent; empty where it has none."""
    return "" if span.parent is None else trace.format_span_id(span.parent.span_id)
