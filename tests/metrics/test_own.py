"""What a service measures of its own: counters, gauges and histograms, in handlers, tasks and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any

import grpc.aio
import pytest
from prometheus_client import REGISTRY, Counter
from prometheus_client.openmetrics import parser as openmetrics

import hrpc
from hrpc import _runtime, metrics
from hrpc.errors import MetricError, OptionError
from hrpc.metrics.instruments import SERIES_AT_MOST
from tests.echo import call
from tests.metrics.scraping import OPENMETRICS, a_server, samples, scrape, value


def values(name: str) -> dict[tuple[str, ...], Any]:
    """The values of a metric that was registered outside of a server."""
    found: dict[tuple[str, ...], Any] = _runtime.early_metrics[name].values()
    return found


async def test_what_is_registered_at_import_is_counted_in_every_place_and_life() -> None:
    metrics.register_counter("orders.paid", "Orders that were paid.", labels=("place",))
    metrics.incr("orders.paid", place="import")

    async def in_handler(request: bytes, _: Any) -> bytes:
        metrics.incr("orders.paid", place="handler")
        await hrpc.go(in_task())
        await asyncio.to_thread(metrics.incr, "orders.paid", place="thread")
        return request

    def in_sync_handler(request: bytes, _: Any) -> bytes:
        metrics.incr("orders.paid", by=0.5, place="sync handler")
        return request

    async def in_task() -> None:
        metrics.incr("orders.paid", by=2, place="task")

    for life in (1, 2):
        server = a_server(Handler=in_handler, Sync=in_sync_handler)
        async with server, grpc.aio.insecure_channel(server.address) as channel:
            await asyncio.gather(*(call(channel, method) for method in ("Handler", "Sync") for _ in range(20)))
            found = await samples(server)
        expected = {
            "import": 1,
            "handler": 20 * life,
            "task": 40 * life,
            "thread": 20 * life,
            "sync handler": 10 * life,
        }
        for place, count in expected.items():
            assert value(found, "measured_orders_paid_total", place=place) == count


async def test_what_is_registered_in_a_running_server_belongs_to_this_life() -> None:
    async def measures(request: bytes, _: Any) -> bytes:
        metrics.register_gauge("queue", "Orders that wait.")
        metrics.set("queue", 5)
        return request

    def in_thread(request: bytes, _: Any) -> bytes:
        metrics.set("queue", 7)
        return request

    async with a_server(Measures=measures, Sync=in_thread) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await call(channel, "Measures")
            assert value(await samples(server), "measured_queue") == 5
            await call(channel, "Sync")
            assert value(await samples(server), "measured_queue") == 7
    async with a_server() as server:
        assert not [name for name, _ in await samples(server) if name == "measured_queue"]
        with pytest.raises(MetricError, match="no such gauge is registered here"):
            metrics.set("queue", 1)


async def test_all_kinds_are_valid_in_both_formats() -> None:
    metrics.register_counter("seen_total", "With the suffix already.")
    metrics.register_gauge("room-temperature", 'In °C, "measured"\nat noon.')
    metrics.register_histogram("items", "Items of an order.", labels=("name", "value"), buckets=(1, 10))
    metrics.incr("seen_total", 3)
    metrics.set("room-temperature", -1.5)
    for items in (1, 2, 100):
        metrics.observe("items", items, name='a"\\\n', value="ä")
    async with a_server() as server:
        found = await samples(server)
        _, text = await scrape(server, Accept=OPENMETRICS)
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(text)}
    assert value(found, "measured_seen_total") == 3
    assert families["measured_seen"].samples[0].value == 3
    assert value(found, "measured_room_temperature") == -1.5
    labels = {"name": 'a"\\\n', "value": "ä"}
    assert value(found, "measured_items_bucket", **labels, le="1.0") == 1
    assert value(found, "measured_items_bucket", **labels, le="10.0") == 2
    assert value(found, "measured_items_bucket", **labels, le="+Inf") == 3
    assert value(found, "measured_items_count", **labels) == 3
    assert value(found, "measured_items_sum", **labels) == 103
    assert {sample.name for sample in families["measured_items"].samples} == {
        "measured_items_bucket",
        "measured_items_count",
        "measured_items_sum",
    }


async def test_what_is_counted_elsewhere_is_read_at_each_scrape_and_one_that_fails_fails_no_other() -> None:
    counted = {("fast", "slow"): 1.0}
    metrics.register_gauge("broken", "What cannot be read.", read=lambda: 1 // 0)
    metrics.register_gauge("wrong", "What has a label too many.", read=lambda: {"a": 1})
    metrics.register_counter("moved", "Orders that were moved.", ("from", "to"), read=lambda: counted)
    metrics.register_gauge("waiting", "Orders that wait.", ("queue",), read=lambda: {"fast": 3})
    metrics.register_counter("seen", "Orders that were seen.", read=lambda: 7)
    async with a_server() as server:
        for count in (1, 5):
            counted["fast", "slow"] = count
            found = await samples(server)
            assert value(found, "measured_moved_total", **{"from": "fast", "to": "slow"}) == count
            assert value(found, "measured_waiting", queue="fast") == 3
            assert value(found, "measured_seen_total") == 7
    with pytest.raises(MetricError, match="counter 'seen': it is read when it is scraped, and cannot be changed"):
        metrics.incr("seen")
    with pytest.raises(MetricError, match="cannot be changed"):
        metrics.set("waiting", 1, queue="fast")
    with pytest.raises(MetricError, match=r"takes the labels \(none\), and what is read has 1 of them"):
        values("wrong")


async def test_a_metric_without_labels_is_there_before_it_is_used() -> None:
    metrics.register_counter("paid", "Orders that were paid.")
    async with a_server() as server:
        assert value(await samples(server), "measured_paid_total") == 0


async def test_the_name_of_the_server_is_spelt_as_prometheus_takes_it() -> None:
    metrics.register_counter("paid", "Orders that were paid.")
    async with a_server(hrpc.with_server_name("3-shops")) as server:
        assert value(await samples(server), "_3_shops_paid_total") == 0


async def test_what_the_user_counts_with_prometheus_client_is_there_too() -> None:
    counter = Counter("paid_orders", "Orders that were paid.")
    try:
        counter.inc(2, exemplar={"trace_id": "abc"})
        async with a_server() as server:
            found = await samples(server)
            _, text = await scrape(server, Accept=OPENMETRICS)
        assert value(found, "paid_orders_total") == 2
        assert ("process_cpu_seconds_total", frozenset()) in found
        families = {family.name: family for family in openmetrics.text_string_to_metric_families(text)}
        assert [s.exemplar.labels for s in families["paid_orders"].samples if s.exemplar] == [{"trace_id": "abc"}]
    finally:
        REGISTRY.unregister(counter)


def test_threads_lose_no_count() -> None:
    metrics.register_counter("done", "Steps.", labels=("worker",))
    metrics.register_histogram("took", "Seconds.", buckets=(1,))
    together = threading.Barrier(8)

    def work(worker: int) -> None:
        together.wait()
        for _ in range(5000):
            metrics.incr("done", worker=worker % 2)
            metrics.observe("took", 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert values("done") == {("0",): 20000, ("1",): 20000}
    assert values("took") == {(): ([40000, 0], 40000)}


def test_label_values_are_told_apart_as_text() -> None:
    class Colour(StrEnum):
        RED = "red"

    metrics.register_counter("a", "A.", labels=("x",))
    for x in (1, True, "1", Colour.RED, "red", None, ["list"], "\ud800"):
        metrics.incr("a", x=x)
    assert values("a") == {("1",): 2, ("True",): 1, ("red",): 2, ("None",): 1, ("['list']",): 1, ("?",): 1}
    assert all(type(x) is str for (x,) in values("a"))


def test_combinations_of_label_values_are_bounded() -> None:
    metrics.register_counter("a", "A.", labels=("user",))
    for user in range(SERIES_AT_MOST + 50):
        metrics.incr("a", user=user)
    assert len(values("a")) == SERIES_AT_MOST + 1
    assert values("a")["other",] == 50
    metrics.incr("a", user=0)
    assert values("a")["0",] == 2


def test_to_register_the_same_again_changes_nothing() -> None:
    for _ in range(2):
        metrics.register_counter("a", "A.", labels=["x"])
        metrics.incr("a", x=1)
    assert values("a") == {("1",): 2}


@pytest.mark.parametrize(
    ("register", "says"),
    [
        (lambda: metrics.register_counter("a", "Other."), "there is a counter 'a' already, 'A.'"),
        (lambda: metrics.register_counter("a", "A.", ("x",)), "there is a counter 'a' already"),
        (lambda: metrics.register_gauge("a", "A."), "gauge 'a': there is a counter 'a' already"),
        (lambda: metrics.register_counter("a_total", "A."), "choose another name"),
        (lambda: metrics.register_gauge("h.count", "A."), "there is a histogram 'h' already"),
        (lambda: metrics.register_histogram("h", "H.", buckets=(1, 3)), "there is a histogram 'h' already"),
        (lambda: metrics.register_counter("", "A."), "takes a name"),
        (lambda: metrics.register_counter("-", "A."), "takes a name"),
        (lambda: metrics.register_counter(None, "A."), "takes a name"),  # type: ignore[arg-type]
        (lambda: metrics.register_counter("b", ""), "takes a help text"),
        (lambda: metrics.register_counter("b", "B.", "label"), "takes a tuple of names"),
        (lambda: metrics.register_counter("b", "B.", ("x", "x")), "each of them once"),
        (lambda: metrics.register_counter("b", "B.", ("x-y",)), "cannot be named 'x-y'"),
        (lambda: metrics.register_counter("b", "B.", ("__x",)), "cannot be named '__x'"),
        (lambda: metrics.register_counter("b", "B.", ("by",)), "cannot be named 'by'"),
        (lambda: metrics.register_histogram("b", "B.", ("le",)), "cannot be named 'le'"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(register: Callable[[], None], says: str) -> None:
    metrics.register_counter("a", "A.")
    metrics.register_histogram("h", "H.", buckets=(1, 2))
    with pytest.raises(MetricError, match=says):
        register()


def test_buckets_are_checked_as_those_of_the_option() -> None:
    with pytest.raises(OptionError, match=r"metrics\.register_histogram"):
        metrics.register_histogram("a", "A.", buckets=(2, 1))


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda: metrics.incr("b"), r"metrics.incr\('b'\): no such counter is registered here"),
        (lambda: metrics.observe("b", 1), "call metrics.register_histogram before"),
        (lambda: metrics.set("a", 1), "takes a gauge, and this is a counter"),
        (lambda: metrics.incr("g"), "takes a counter, and this is a gauge"),
        (lambda: metrics.incr("a", -1), "cannot grow by -1; what can fall is a gauge"),
        (lambda: metrics.incr("a", float("nan")), "cannot grow by nan"),
        (lambda: metrics.incr("a", float("inf")), "cannot grow by inf"),
        (lambda: metrics.incr("a", 10**400), "cannot grow by"),
        (lambda: metrics.incr("a", None), "takes a number, not None"),  # type: ignore[arg-type]
        (lambda: metrics.incr("a", x=1), r"takes the labels \(none\), and was given x"),
        (lambda: metrics.set("g", 1), r"takes the labels x, y, and was given \(none\)"),
        (lambda: metrics.set("g", 1, x=1), "takes the labels x, y, and was given x"),
        (lambda: metrics.set("g", 1, x="1", y="1", z="1"), "takes the labels x, y, and was given x, y, z"),
        (lambda: metrics.set("g", "many", x=1, y=1), "takes a number, not 'many'"),  # type: ignore[arg-type]
        (lambda: metrics.observe("h", float("nan")), "cannot observe nan"),
    ],
)
def test_a_wrong_use_says_what_is_right(use: Callable[[], None], says: str) -> None:
    metrics.register_counter("a", "A.")
    metrics.register_gauge("g", "G.", labels=("x", "y"))
    metrics.register_histogram("h", "H.")
    metrics.set("g", 0, x=1, y=1)
    with pytest.raises(MetricError, match=says):
        use()
    assert (values("a"), values("g"), values("h")[()][1]) == ({(): 0}, {("1", "1"): 0}, 0)
