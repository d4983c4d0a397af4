"""The answer to a scrape: everything that is measured, in Prometheus' format."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from aiohttp import web
from loguru import logger
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import REGISTRY, Collector

from hrpc.metrics.call_text import CallText, Spelling

TOLD_AT_MOST = 1000
"""Metrics that the log tells of."""

PACKED_IN_THREAD = 1 << 16
"""Bytes of an answer from which on it is packed in a thread, and not in the event loop."""

_END = b"# EOF\n"

_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "gaugehistogram": ("", "_bucket", "_gcount", "_gsum"),
    "summary": ("", "_count", "_sum", "_created"),
    "info": ("", "_info"),
}
"""What a family appends to its name, by its type
(https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md#suffixes)."""


class Exposition:
    """Answers scrapes with what collectors give, and with what prometheus_client has in its default registry.

    No fault of one of them fails a scrape: what cannot be read, or has the name of something that came before it, is
    left out, and the log tells of it once.
    """

    def __init__(self, calls: CallText, collectors: Callable[[], Iterable[Collector]]) -> None:
        """`collectors` is asked at every scrape. Where names collide, the first one wins, the default registry last."""
        self._calls = calls
        self._collectors = collectors
        self._told: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """The answer to ``GET /metrics``, in the format that the scraper asks for."""
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):  # it asks for a version that is no number
            encode, content_type = choose_encoder("")
        openmetrics = content_type.startswith("application/openmetrics-text")
        _, _, escaping = content_type.partition("escaping=")
        parts = []
        for piece in self._calls.pieces(Spelling(openmetrics, escaping or "underscores")):
            parts.append(piece)
            await asyncio.sleep(0)
        for family in self._families():
            parts.append(self._encoded(family, encode))
            await asyncio.sleep(0)
        if openmetrics:
            parts.append(_END)
        response = web.Response(
            body=b"".join(parts), headers={"Content-Type": content_type}, zlib_executor_size=PACKED_IN_THREAD
        )
        if _takes_gzip(request.headers.get("Accept-Encoding", "")):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    def _families(self) -> Iterator[Metric]:
        taken = set[str]().union(*(_series(name, kind) for name, kind in self._calls.names))
        for collector in (*self._collectors(), REGISTRY):
            try:
                for family in collector.collect():
                    series = _series(family.name, family.type)
                    if taken.isdisjoint(series):
                        taken |= series
                        yield family
                    else:
                        self._tell(family.name, "another metric has this name; rename it")
            except Exception as error:  # noqa: BLE001 - the other metrics are needed all the more
                self._tell(repr(collector), "it failed", error)

    def _encoded(self, family: Metric, encode: Callable[[Collector], bytes]) -> bytes:
        try:
            return encode(_Only(family)).removesuffix(_END)
        except Exception as error:  # noqa: BLE001 - the other metrics are needed all the more
            self._tell(family.name, "it cannot be written", error)
            return b""

    def _tell(self, what: str, why: str, error: Exception | None = None) -> None:
        if what not in self._told and len(self._told) < TOLD_AT_MOST:
            self._told.add(what)
            logger.opt(exception=error).warning("metrics: {} is left out: {}", what, why)


class _Only(Collector):
    """One family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _series(name: str, kind: str) -> set[str]:
    return {name + suffix for suffix in _SUFFIXES.get(kind, ("",))}


def _takes_gzip(accept_encoding: str) -> bool:
    for accepted in accept_encoding.lower().split(","):
        coding, _, weight = accepted.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
