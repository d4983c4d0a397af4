"""A collector that is away, refuses or hangs costs spans, and neither calls nor the stop."""

from __future__ import annotations

import json
import time

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc.tracing import provider
from tests.eventually import eventually
from tests.tracing.collector import collecting
from tests.tracing.exporting import a_server, work


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

    async with a_server(hrpc.with_graceful_stop(step_limit=60)):
        work()
        await eventually(has_failed)
        began = time.monotonic()
        for _ in range(1000):
            work()
        assert time.monotonic() - began < 20, "a span has waited for the collector: a second for every eight of them"
        began = time.monotonic()
    assert time.monotonic() - began < 20, "the stop has waited for the collector, for as long as it may"
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
    monkeypatch.setattr(provider, "_LIMIT_SHARE", 0.04)  # all of the rest, for a machine with other things to do
    async with collecting() as collector:
        collector.open.clear()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        async with a_server(hrpc.with_graceful_stop(step_limit=60)) as server:
            work()
            began = time.monotonic()
            await server.stop()
            assert time.monotonic() - began < 30
        assert collector.asked.is_set()
        collector.open.set()
    assert "tracing: the collector did not take the last spans within 2.4 s; they are lost" in capsys.readouterr().out
