"""What is measured, as prometheus_client's families of samples. Imported only when metrics are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from hrpc.metrics.calls import Calls, MethodCalls
from hrpc.metrics.instruments import Counter, Gauge, Histogram, exported
from hrpc.metrics.measures import Measure
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
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for bound, total, example in zip(self._bounds, accumulate(method.buckets), method.examples, strict=True):
            if example is not None and _TRACE_ID.fullmatch(example[0]):
                trace_id, took, ended = example
                buckets.append((bound, total, Exemplar({"trace_id": trace_id}, took, round(ended, 3))))
            else:
                buckets.append((bound, total))
        return buckets


class MeasureCollector(Collector):
    """One number that a part of the server tells, or several that labels tell apart."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def __repr__(self) -> str:
        return self._measure.name

    def collect(self) -> Iterator[Metric]:
        measure = self._measure
        make = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
        family = make(measure.name, measure.help, labels=measure.labels)
        reading = measure.read()
        if isinstance(reading, Mapping):
            for key, value in reading.items():
                family.add_metric([key] if isinstance(key, str) else key, value)
        elif reading is not None:
            family.add_metric([], reading)
        yield family


class InstrumentCollector(Collector):
    """What the service has registered of its own."""

    def __init__(self, server_name: str, *instruments: Mapping[str, Counter | Gauge | Histogram]) -> None:
        """`instruments` are read at every scrape; of two with the same name, the first one counts."""
        self._server_name = server_name
        self._instruments = instruments

    def collect(self) -> Iterator[Metric]:
        for instruments in self._instruments:
            for instrument in list(instruments.values()):
                yield self._family(instrument)

    def _family(self, instrument: Counter | Gauge | Histogram) -> Metric:
        name = exported(f"{self._server_name}_{instrument.exported}")
        if isinstance(instrument, Histogram):
            histogram = HistogramMetricFamily(name, instrument.help, labels=instrument.labels)
            bounds = [*map(floatToGoString, instrument.buckets), "+Inf"]
            for key, (counts, total) in instrument.values().items():
                histogram.add_metric(key, list(zip(bounds, accumulate(counts), strict=True)), total)
            return histogram
        make = CounterMetricFamily if isinstance(instrument, Counter) else GaugeMetricFamily
        family = make(name, instrument.help, labels=instrument.labels)
        for key, value in instrument.values().items():
            family.add_metric(key, value)
        return family
