"""Sending spans away without ever being in the way: a collector that is away costs spans, and one line in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from loguru import logger
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from hrpc.life import in_daemon_thread

_PATIENCE = 1.0
"""Seconds for the last spans when the collector has not taken those before."""
_GIVING_UP = 0.5
_LOGGERS = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.sdk.trace.export")
_LOGIN = re.compile(r"[^\s/@:]+:[^\s/@]*@")


class Watched(SpanExporter):
    """An exporter that says in the log once that it fails, and once that it works again.

    Those of OpenTelemetry say it several times for each batch.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self.is_failing = False
        self.on_trouble: Callable[[], None] = lambda: None
        self._exporter = exporter
        self._name = type(exporter).__name__
        self._thread: int | None = None
        self._reason = ""
        self._is_shut = False
        self._loggers = [
            logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith(_LOGGERS)
        ]
        for found in self._loggers:
            # Before OpenTelemetry's own, which hides what another exporter has said in the same words.
            found.filters.insert(0, self.filter)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._thread = threading.get_ident()
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - any error of an exporter costs its batch, and is told
            self._reason, result = repr(error), SpanExportResult.FAILURE
            self.on_trouble()
        finally:
            self._thread = None
        self._tell(result is not SpanExportResult.SUCCESS)
        return result

    def _tell(self, is_failing: bool) -> None:
        if is_failing and not self.is_failing:
            logger.warning(
                "tracing: {} fails, and its spans are lost until it works again: {}; check that the collector runs, "
                "and OTEL_EXPORTER_OTLP_ENDPOINT",
                self._name,
                _LOGIN.sub("***@", self._reason).rstrip(".") or "it does not say why",
            )
        elif self.is_failing and not is_failing:
            logger.info("tracing: {} works again", self._name)
        self.is_failing = is_failing

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps what the exporter logs of a failure to itself, for `_tell`; lets all else through."""
        if threading.get_ident() == self._thread:
            message = record.getMessage()
            if not (self._reason and message.startswith("Shutdown in progress")):  # that is the end, not the reason
                self._reason = message
            self.on_trouble()
            return False
        return not (self.is_failing and record.name == _LOGGERS[1])  # that the queue is full follows from it

    def shutdown(self) -> None:
        if not self._is_shut:
            self._is_shut = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def forget(self) -> None:
        """Leaves the loggers as they were."""
        for found in self._loggers:
            found.removeFilter(self.filter)


class Lent(SpanProcessor):
    """A processor that is the program's: it is flushed at the end of a server's life, and stays open for the next."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        self._processor.on_end(span)

    def shutdown(self) -> None:
        self._processor.force_flush()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._processor.force_flush(timeout_millis)


async def closed(provider: TracerProvider, exporters: Sequence[Watched], limit: float) -> None:
    """Sends the last spans within `limit` seconds, and gives up at the first failure: nobody waits for a collector."""
    loop = asyncio.get_running_loop()
    trouble = asyncio.Event()
    for exporter in exporters:
        exporter.on_trouble = lambda: _tell(loop, trouble)
    is_known = any(exporter.is_failing for exporter in exporters)
    if is_known:
        limit = min(limit, _PATIENCE)
    closing = in_daemon_thread(provider.shutdown)
    waiting = asyncio.create_task(trouble.wait())
    ends: set[asyncio.Future[Any]] = {closing, waiting}
    try:
        await asyncio.wait(ends, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            if not is_known and not trouble.is_set():
                logger.warning("tracing: the collector did not take the last spans within {:g} s; they are lost", limit)
            # One that is sending may not come back from it either; what waits for all of this is about to give up too.
            given_up = {in_daemon_thread(exporter.shutdown) for exporter in exporters}
            await asyncio.wait({closing, *given_up}, timeout=min(_GIVING_UP, limit / 8))
    finally:
        waiting.cancel()
        for exporter in exporters:
            exporter.forget()
    if closing.done():
        closing.result()


def _tell(loop: asyncio.AbstractEventLoop, trouble: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(trouble.set)
