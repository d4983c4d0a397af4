"""A scrape is answered whatever a metric does; the log tells once what is left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger
from prometheus_client import REGISTRY, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics import parser as openmetrics

import hrpc
from hrpc import metrics
from tests.metrics.scraping import OPENMETRICS, a_server, samples, scrape, value


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What is logged about metrics."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", filter=lambda record: record["message"].startswith("metrics:"))
    yield lines
    logger.remove(sink)


class Registered:
    """A collector in the default registry, without a description, which would find the collision before."""

    def __init__(self, *families: Metric | Exception) -> None:
        self._families = families

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            if isinstance(family, Exception):
                raise family
            yield family

    def __enter__(self) -> None:
        REGISTRY.register(self)

    def __exit__(self, *_: object) -> None:
        REGISTRY.unregister(self)


async def both_formats(server: hrpc.Server) -> dict[str, Metric]:
    """The families of one scrape in each format; both are valid."""
    await samples(server)
    _, text = await scrape(server, Accept=OPENMETRICS)
    return {family.name: family for family in openmetrics.text_string_to_metric_families(text)}


async def test_a_name_of_hrpc_stays_hrpcs_own(told: list[str]) -> None:
    ours = Gauge("grpc_server_in_flight", "Not ours.")
    other = GaugeMetricFamily("grpc_server_started_total", "Not ours.", 5)
    try:
        with Registered(other):
            async with a_server() as server:
                found = await both_formats(server)
    finally:
        REGISTRY.unregister(ours)
    assert found["grpc_server_in_flight"].documentation == "Calls that run now."
    assert found["grpc_server_started"].type == "counter"
    assert sorted(told) == [
        "metrics: grpc_server_in_flight is left out: another metric has this name; rename it\n",
        "metrics: grpc_server_started_total is left out: another metric has this name; rename it\n",
    ]


async def test_what_is_registered_with_us_comes_before_the_default_registry(told: list[str]) -> None:
    metrics.register_gauge("queue", "Registered with us.")
    with Registered(GaugeMetricFamily("measured_queue", "In the default registry.", 5)):
        async with a_server() as server:
            found = await both_formats(server)
    assert found["measured_queue"].documentation == "Registered with us."
    assert len(told) == 1


async def test_a_server_may_be_named_as_a_metric_of_ours(told: list[str]) -> None:
    metrics.register_counter("server_started", "Server starts.")
    async with a_server(hrpc.with_server_name("grpc")) as server:
        found = await both_formats(server)
    assert found["grpc_server_started"].documentation == "Calls that were started."
    assert len(told) == 1


async def test_a_collector_that_fails_takes_no_other_metric_along(told: list[str]) -> None:
    with Registered(GaugeMetricFamily("before", "Before.", 1), ValueError("the database is away")):
        async with a_server() as server:
            found = await both_formats(server)
    assert {"grpc_server_started", "process_cpu_seconds", "before"} <= set(found)
    assert len(told) == 1
    assert "ValueError: the database is away" in told[0]


async def test_a_value_that_is_no_number_takes_no_other_metric_along(told: list[str]) -> None:
    broken = GaugeMetricFamily("broken", "Broken.", labels=["x"])
    broken.add_metric(["a"], "many")  # type: ignore[arg-type]
    with Registered(broken, GaugeMetricFamily("after", "After.", 1)):
        async with a_server() as server:
            found = await both_formats(server)
    assert {"grpc_server_started", "after"} <= set(found)
    assert "broken" not in found
    assert len(told) == 1


async def test_a_part_that_cannot_tell_takes_no_other_metric_along(told: list[str]) -> None:
    def fails() -> float:
        raise RuntimeError("gone")

    async with a_server() as server:
        assert server._running is not None
        server._running.parts.measures.gauge("hrpc_gone", "Gone.", fails)
        server._running.parts.measures.counter("hrpc_left", "Left.", lambda: {"a": 1, "b": 2}, ("x",))
        await both_formats(server)
        found = await samples(server)
    assert value(found, "hrpc_left_total", x="b") == 2
    assert len(told) == 1
    assert told[0].startswith("metrics: hrpc_gone is left out")
