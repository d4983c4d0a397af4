"""The answer to a scrape: everything that is measured, in Prometheus' format."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hrpc.metrics.call_text import CallText, Spelling
from hrpc.metrics.families import Families

PACKED_IN_THREAD = 1 << 16
"""Bytes of an answer from which on it is packed in a thread, and not in the event loop."""

_END = b"# EOF\n"


class Exposition:
    """Answers scrapes with the calls of a server, and with families of samples."""

    def __init__(
        self, calls: CallText, families: Families, gather: Callable[[bool], Awaitable[None]] | None = None
    ) -> None:
        """`gather` is awaited before each scrape is answered; it is told whether examples are wanted."""
        self._calls = calls
        self._families = families
        self._gather = gather

    async def answer(self, request: web.Request) -> web.Response:
        """The answer to ``GET /metrics``, in the format that the scraper asks for."""
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):  # it asks for a version that is no number
            encode, content_type = choose_encoder("")
        openmetrics = content_type.startswith("application/openmetrics-text")
        _, _, escaping = content_type.partition("escaping=")
        if self._gather is not None:
            await self._gather(openmetrics)
        parts = []
        for piece in self._calls.pieces(Spelling(openmetrics, escaping or "underscores")):
            parts.append(piece)
            await asyncio.sleep(0)
        for family in self._families:
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

    def _encoded(self, family: Metric, encode: Callable[[Collector], bytes]) -> bytes:
        try:
            return encode(_Only(family)).removesuffix(_END)
        except Exception as error:  # noqa: BLE001 - the other metrics are needed all the more
            self._families.tell(family.name, "it cannot be written", error)
            return b""


class _Only(Collector):
    """One family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _takes_gzip(accept_encoding: str) -> bool:
    for accepted in accept_encoding.lower().split(","):
        coding, _, weight = accepted.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
