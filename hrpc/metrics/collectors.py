"""What is measured, as prometheus_client's families of samples. Imported only when metrics are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from hrpc.metrics.instruments import Counter, Gauge, Histogram, exported
from hrpc.metrics.measures import Measure, Mode, Observed


def modes(collector: Collector) -> Mapping[str, Mode]:
    """What becomes of a collector's gauges, by name, when there are several workers; of others nothing is known."""
    return collector.modes if isinstance(collector, MeasureCollector | InstrumentCollector) else {}


class MeasureCollector(Collector):
    """One number that a part of the server tells, or several that labels tell apart."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    def __repr__(self) -> str:
        return self._measure.name

    @property
    def modes(self) -> Mapping[str, Mode]:
        """Of its one."""
        return {self._measure.name: self._measure.workers}

    def collect(self) -> Iterator[Metric]:
        measure = self._measure
        reading: Any = measure.read()
        if measure.kind == "histogram":
            histogram = HistogramMetricFamily(measure.name, measure.help, labels=measure.labels)
            for key, observed in reading.items():
                histogram.add_metric([key], *_cumulative(measure.buckets, observed))
            yield histogram
            return
        make = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
        family = make(measure.name, measure.help, labels=measure.labels)
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

    def __repr__(self) -> str:
        return ", ".join(map(self._name, self._all()))

    def each(self) -> Iterator[InstrumentCollector]:
        """Each of them alone, so that one that cannot be read fails no other."""
        for one in self._all():
            yield InstrumentCollector(self._server_name, {one.name: one})

    @property
    def modes(self) -> Mapping[str, Mode]:
        """Of its gauges."""
        return {self._name(one): one.workers for one in self._all() if isinstance(one, Gauge)}

    def collect(self) -> Iterator[Metric]:
        return map(self._family, self._all())

    def _all(self) -> Iterator[Counter | Gauge | Histogram]:
        for instruments in self._instruments:
            yield from list(instruments.values())

    def _name(self, instrument: Counter | Gauge | Histogram) -> str:
        return exported(f"{self._server_name}_{instrument.exported}")

    def _family(self, instrument: Counter | Gauge | Histogram) -> Metric:
        name = self._name(instrument)
        if isinstance(instrument, Histogram):
            histogram = HistogramMetricFamily(name, instrument.help, labels=instrument.labels)
            for key, observed in instrument.values().items():
                histogram.add_metric(key, *_cumulative(instrument.buckets, observed))
            return histogram
        make = CounterMetricFamily if isinstance(instrument, Counter) else GaugeMetricFamily
        family = make(name, instrument.help, labels=instrument.labels)
        for key, value in instrument.values().items():
            family.add_metric(key, value)
        return family


def _cumulative(buckets: tuple[float, ...], observed: Observed) -> tuple[list[tuple[str, float]], float]:
    counts, total = observed
    bounds = [*map(floatToGoString, buckets), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True)), total
