"""Spans that a test can look at, and no variable of the machine that says where they go."""

from __future__ import annotations

import os

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import hrpc


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


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    for name in list(os.environ):
        if name.startswith(("OTEL_", "CONFIGS_", "CONSUL_")):
            monkeypatch.delenv(name)
