"""What turns tracing on, and which settings are refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import hrpc
from hrpc.errors import OptionError, StartError
from tests.tracing.exporting import a_server, work
from tests.tracing.spans import Spans


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
