"""What several workers have measured, as one sum that never falls and gauges that mean something."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from time import monotonic

import grpc
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics import exposition
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hrpc.errors import MetricError
from hrpc.metrics import instruments
from hrpc.metrics.call_text import CallText, Spelling
from hrpc.metrics.calls import Calls
from hrpc.metrics.collectors import InstrumentCollector, MeasureCollector
from hrpc.metrics.families import Families
from hrpc.metrics.measures import Measures, Mode
from hrpc.metrics.share import OwnShare, Share
from hrpc.metrics.total import Total
from tests.metrics.scraping import Samples, value

METHOD = {"grpc_service": "p.S", "grpc_method": "M", "grpc_type": "unary"}
BOUNDS = (0.5, 1.0)


class Worker:
    """A process that measures; its shares travel as JSON."""

    def __init__(self, pid: int, *collectors: Collector) -> None:
        self.pid = pid
        self.calls = Calls(BOUNDS)
        self.own = OwnShare(self.calls, Families((), lambda: collectors))

    def called(self, times: int = 1, *, code: grpc.StatusCode = grpc.StatusCode.OK, trace_id: str = "") -> None:
        for _ in range(times):
            method = self.calls.method("/p.S/M", False, False)
            method.end(method.begin(), code, trace_id)

    def share(self, *, final: bool = False, examples: bool = False) -> Share:
        told = json.loads(json.dumps(self.own.now(examples, final=final).told()))
        return Share.heard(told)._replace(pid=self.pid)


def add_up(total: Total, *answering: Worker, running: Iterable[Worker] = (), final: Sequence[Share] = ()) -> Samples:
    """A scrape that these workers answer, while those that are `running` do not."""
    for share in (*(worker.share() for worker in answering), *final):
        total.take(share)
    fresh = {worker.pid: str(number) for number, worker in enumerate(answering, 1)}
    total.add_up(fresh, [*fresh, *(worker.pid for worker in running)])
    return samples(total)


def samples(total: Total) -> Samples:
    text = b"".join(CallText(total.calls).pieces(Spelling(openmetrics=False))).decode()
    calls = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    others = [sample for family in total.collect() for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in (*calls, *others)}


def measured(kind: str, *readings: float, workers: Mode = "sum") -> Collector:
    """Reads these one after the other, and then the last one again and again."""
    left = list(readings)

    def read() -> float:
        return left.pop(0) if len(left) > 1 else left[0]

    measures = Measures()
    if kind == "counter":
        measures.counter("hrpc_things", "Things.", read)
    else:
        measures.gauge("hrpc_things", "Things.", read, workers=workers)
    [measure] = measures
    return MeasureCollector(measure)


def test_calls_of_all_workers_are_counted_together() -> None:
    one, two = Worker(11), Worker(12)
    one.called(3)
    two.called(4)
    two.called(2, code=grpc.StatusCode.NOT_FOUND)
    two.calls.method("/p.S/M", False, False).begin()
    found = add_up(Total(BOUNDS), one, two)
    assert value(found, "grpc_server_started_total", **METHOD) == 10
    assert value(found, "grpc_server_handled_total", **METHOD, grpc_code="OK") == 7
    assert value(found, "grpc_server_handled_total", **METHOD, grpc_code="NotFound") == 2
    assert value(found, "grpc_server_msg_received_total", **METHOD) == 10
    assert value(found, "grpc_server_msg_sent_total", **METHOD) == 7
    assert value(found, "grpc_server_handling_seconds_count", **METHOD) == 9
    assert value(found, "grpc_server_handling_seconds_bucket", **METHOD, le="0.5") == 9
    assert value(found, "grpc_server_in_flight", **METHOD) == 1


def test_a_method_that_nobody_called_is_there() -> None:
    one, two = Worker(11), Worker(12)
    for worker in (one, two):
        worker.calls.method("/p.S/M", False, False)
    found = add_up(Total(BOUNDS), one, two)
    assert value(found, "grpc_server_started_total", **METHOD) == 0
    assert value(found, "grpc_server_handling_seconds_bucket", **METHOD, le="+Inf") == 0


def test_messages_of_streams_are_added_up() -> None:
    one, two = Worker(11), Worker(12)
    for worker, messages in ((one, 3), (two, 4)):
        worker.calls.method("/p.S/M", True, True).received += messages
    found = add_up(Total(BOUNDS), one, two)
    assert value(found, "grpc_server_msg_received_total", **{**METHOD, "grpc_type": "bidi_stream"}) == 7


def test_the_newest_example_of_all_workers_is_shown() -> None:
    one, two = Worker(11), Worker(12)
    one.called(trace_id="older")
    two.called(trace_id="newer")
    total = Total(BOUNDS)
    for worker in (two, one):
        total.take(worker.share(examples=True))
    total.add_up({11: "1", 12: "2"}, (11, 12))
    text = b"".join(CallText(total.calls).pieces(Spelling(openmetrics=True))).decode()
    assert '{trace_id="newer"}' in text
    assert "older" not in text
    [method] = total.calls
    assert method.examples[0] is not None
    assert method.examples[0][2] <= monotonic()


def test_examples_that_nobody_reads_do_not_travel() -> None:
    one = Worker(11)
    one.called(trace_id="trace")
    assert "trace" not in json.dumps(one.own.now().told())


def test_counts_of_a_worker_that_died_stay_and_its_successor_adds_to_them() -> None:
    total, first, other = Total(BOUNDS), Worker(11, measured("counter", 0, 5)), Worker(12, measured("counter", 0, 7))
    first.called(10)
    add_up(total, first, other)
    for _ in range(3):
        found = add_up(total, other)
        assert value(found, "grpc_server_started_total", **METHOD) == 10
        assert value(found, "hrpc_things_total") == 12
    successor = Worker(13)
    successor.called(1)
    for _ in range(3):
        found = add_up(total, other, successor)
        assert value(found, "grpc_server_started_total", **METHOD) == 11
        assert value(found, "grpc_server_handling_seconds_count", **METHOD) == 11
        assert value(found, "hrpc_things_total") == 12


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_what_a_worker_tells_at_its_end_is_counted_once(looks: int) -> None:
    total, first, other = Total(BOUNDS), Worker(11), Worker(12)
    first.called(10)
    add_up(total, first, other)
    first.called(5)
    for _ in range(min(looks, 1)):
        add_up(total, other)
    found = add_up(total, other, final=[first.share(final=True)])
    for _ in range(looks):
        found = add_up(total, other)
    assert value(found, "grpc_server_started_total", **METHOD) == 15


def test_a_worker_that_does_not_answer_counts_with_what_it_told_last() -> None:
    total, quick, hung = Total(BOUNDS), Worker(11, measured("gauge", 0, 2)), Worker(12, measured("gauge", 0, 3))
    hung.called(4)
    hung.calls.method("/p.S/M", False, False).begin()
    found = add_up(total, quick, hung)
    assert value(found, "hrpc_things") == 5
    assert value(found, "grpc_server_in_flight", **METHOD) == 1
    for _ in range(3):
        found = add_up(total, quick, running=[hung])
        assert value(found, "grpc_server_started_total", **METHOD) == 5
        assert value(found, "grpc_server_in_flight", **METHOD) == 0
        assert value(found, "hrpc_things") == 2
    hung.called(1)
    found = add_up(total, quick, hung)
    assert value(found, "grpc_server_started_total", **METHOD) == 6


@pytest.mark.parametrize(("mode", "expected"), [("sum", 8.0), ("max", 5.0), ("min", 3.0)])
def test_gauges_become_one_number_as_they_declare(mode: Mode, expected: float) -> None:
    found = add_up(
        Total(BOUNDS), Worker(11, measured("gauge", 3, workers=mode)), Worker(12, measured("gauge", 5, workers=mode))
    )
    assert found == {("hrpc_things", frozenset()): expected}


def test_a_gauge_of_each_worker_has_its_number_as_a_label() -> None:
    workers = [Worker(pid, measured("gauge", number, workers="each")) for pid, number in ((11, 3), (12, 5))]
    found = add_up(Total(BOUNDS), *workers)
    assert value(found, "hrpc_things", worker="1") == 3
    assert value(found, "hrpc_things", worker="2") == 5
    assert len(found) == 2


def test_gauges_of_prometheus_client_are_told_for_each_worker() -> None:
    workers = []
    for pid in (11, 12):
        registry = CollectorRegistry()
        Gauge("temperature", "Degrees.", ["room"], registry=registry).labels("hall").set(pid)
        workers.append(Worker(pid, registry))
    found = add_up(Total(BOUNDS), *workers)
    assert value(found, "temperature", room="hall", worker="1") == 11
    assert value(found, "temperature", room="hall", worker="2") == 12


def test_what_was_counted_before_the_fork_is_not_counted_by_each_worker() -> None:
    registry = CollectorRegistry()
    counter = Counter("seen", "Seen.", registry=registry)
    spread = Histogram("took", "Seconds.", buckets=(1.0,), registry=registry)
    counter.inc(100)
    spread.observe(0.5)
    worker = Worker(11, registry)
    counter.inc(2)
    spread.observe(0.25)
    found = add_up(Total(BOUNDS), worker)
    assert value(found, "seen_total") == 2
    assert value(found, "took_count") == 1
    assert value(found, "took_sum") == 0.25
    assert value(found, "took_bucket", le="1.0") == 1
    assert value(found, "seen_created") > 1e9


def test_a_services_own_metrics_are_added_up() -> None:
    workers = []
    for pid in (11, 12):
        paid = instruments.Counter("paid", "Paid.", ["currency"])
        waiting = instruments.Gauge("waiting", "Waiting.", (), "sum")
        warm = instruments.Gauge("warm", "Warm.", ())
        items = instruments.Histogram("items", "Items.", (), (1.0, 2.0))
        own = {instrument.name: instrument for instrument in (paid, waiting, warm, items)}
        workers.append(Worker(pid, InstrumentCollector("orders", own)))
        paid.add(2, {"currency": "EUR"})
        waiting.set(4, {})
        warm.set(1, {})
        items.observe(2, {})
    found = add_up(Total(BOUNDS), *workers)
    assert value(found, "orders_paid_total", currency="EUR") == 4
    assert value(found, "orders_waiting") == 8
    assert value(found, "orders_warm", worker="2") == 1
    assert value(found, "orders_items_bucket", le="2.0") == 2
    assert value(found, "orders_items_sum") == 4


def test_examples_of_a_services_own_histograms_stay() -> None:
    workers = []
    for pid, trace in ((11, "a"), (12, "b")):
        registry = CollectorRegistry()
        worker = Worker(pid, registry)
        Histogram("took", "Seconds.", registry=registry).observe(0.5, {"trace_id": trace})
        workers.append(worker)
    total = Total(BOUNDS)
    for worker in workers:
        total.take(worker.share(examples=True))
    total.add_up({11: "1", 12: "2"}, (11, 12))
    text = exposition.generate_latest(total).decode()
    assert 'took_bucket{le="0.5"} 2.0 # {trace_id="b"} 0.5' in text


def test_of_two_kinds_with_one_name_the_first_stays() -> None:
    one, two = Worker(11, measured("counter", 0, 3)), Worker(12, measured("gauge", 5))
    assert add_up(Total(BOUNDS), one, two) == {("hrpc_things_total", frozenset()): 3.0}


def test_a_registered_gauge_says_how_workers_make_one() -> None:
    with pytest.raises(MetricError, match="gauge 'queue': workers='mean': takes 'sum', 'max', 'min', 'each'"):
        instruments.Gauge("queue", "Waiting.", (), "mean")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="the label 'worker' is the one that tells workers apart"):
        instruments.Gauge("queue", "Waiting.", ["worker"])
    assert instruments.Gauge("queue", "Waiting.", ["worker"], "sum").workers == "sum"
