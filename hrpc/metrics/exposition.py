"""Everything that is measured, in Prometheus' format. Imported only when metrics are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import REGISTRY, Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from hrpc.abc import PoolStats
from hrpc.metrics.calls import Calls, MethodCalls
from hrpc.status import code_label

# It is the caller who says what the trace id is, and not every parser copes with escaped characters in an exemplar.
_TRACE_ID = re.compile(r"[!#-\[\]-~]+")

_LABELS = ["grpc_type", "grpc_service", "grpc_method"]


class CallCollector(Collector):
    """The calls of a server."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._bounds = [*map(floatToGoString, calls.buckets), "+Inf"]

    def collect(self) -> Iterator[Metric]:
        started = CounterMetricFamily("grpc_server_started", "Calls that were started.", labels=_LABELS)
        handled = CounterMetricFamily("grpc_server_handled", "Calls that ended.", labels=[*_LABELS, "grpc_code"])
        received = CounterMetricFamily("grpc_server_msg_received", "Messages of callers.", labels=_LABELS)
        sent = CounterMetricFamily("grpc_server_msg_sent", "Messages to callers.", labels=_LABELS)
        seconds = HistogramMetricFamily("grpc_server_handling_seconds", "Seconds from start to end.", labels=_LABELS)
        in_flight = GaugeMetricFamily("grpc_server_in_flight", "Calls that run now.", labels=_LABELS)
        for method in self._calls:
            labels = [method.kind, method.service, method.method]
            started.add_metric(labels, method.started)
            in_flight.add_metric(labels, method.in_flight)
            for code, count in method.handled.items():
                handled.add_metric([*labels, code_label(code)], count)
            received.add_metric(labels, method.messages_received)
            sent.add_metric(labels, method.messages_sent)
            seconds.add_metric(labels, self._buckets(method), method.seconds)
        yield from (started, handled, received, sent, seconds, in_flight)

    def _buckets(self, method: MethodCalls) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        total = 0
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for bound, count, example in zip(self._bounds, method.buckets, method.examples, strict=True):
            total += count
            if example is not None and _TRACE_ID.fullmatch(example[0]):
                trace_id, took, ended = example
                buckets.append((bound, total, Exemplar({"trace_id": trace_id}, took, round(ended, 3))))
            else:
                buckets.append((bound, total))
        return buckets


class StateCollector(Collector):
    """Pools, registration, and the age of what is followed in Consul; each is asked when it is scraped."""

    def __init__(
        self,
        pools: Callable[[], Mapping[str, PoolStats]],
        registered: Callable[[], bool | None],
        ages: Callable[[], Mapping[tuple[str, str], float]],
    ) -> None:
        self._pools = pools
        self._registered = registered
        self._ages = ages

    def collect(self) -> Iterator[Metric]:
        connections = GaugeMetricFamily("hrpc_pool_connections", "Connections of a pool.", labels=["pool", "state"])
        waiting = GaugeMetricFamily("hrpc_pool_waiting", "Callers that wait for a connection.", labels=["pool"])
        for name, stats in self._pools().items():
            connections.add_metric([name, "used"], stats.used)
            connections.add_metric([name, "idle"], stats.idle)
            waiting.add_metric([name], stats.waiting)
        registered = GaugeMetricFamily("hrpc_registered", "1 when Consul lists this instance, else 0.")
        present = self._registered()
        if present is not None:
            registered.add_metric([], float(present))
        families = {
            "service": GaugeMetricFamily(
                "hrpc_upstream_age_seconds", "Seconds since Consul confirmed the instances.", labels=["service"]
            ),
            "key": GaugeMetricFamily(
                "hrpc_config_age_seconds", "Seconds since Consul confirmed the value.", labels=["key"]
            ),
        }
        for (kind, name), age in self._ages().items():
            families[kind].add_metric([name], age)
        yield from (connections, waiting, registered, *families.values())


class Exposition:
    """Answers a scrape: the server's collectors, and what the process has in prometheus_client's default registry."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        """All of it."""
        for collector in (*self._collectors, REGISTRY):
            yield from collector.collect()

    async def answer(self, request: web.Request) -> web.Response:
        """The answer to ``GET /metrics``, in the format that the scraper asks for."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self), headers={"Content-Type": content_type})
