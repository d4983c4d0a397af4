"""Metrics of a running server, as Prometheus reads them."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import grpc.aio
import pytest
from prometheus_client.openmetrics import parser as openmetrics

import hrpc
from hrpc import configs, service
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, RedisServer
from tests import agent
from tests.echo import SERVICE, call, echo, handled
from tests.metrics.scraping import OPENMETRICS, a_server, samples, scrape, value

ECHO = {"grpc_service": SERVICE, "grpc_method": "Echo", "grpc_type": "unary"}


async def calls_of_each_kind(channel: grpc.aio.Channel) -> None:
    """Three messages each way, in a stream."""
    await call(channel, "Echo")
    await call(channel, "EchoInThread")
    assert len([part async for part in channel.unary_stream(f"/{SERVICE}/Repeat")(b"a")]) == 3
    assert len([part async for part in channel.unary_stream(f"/{SERVICE}/RepeatInThread")(b"a")]) == 3
    assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a"] * 3)) == b"aaa"
    assert len([part async for part in channel.stream_stream(f"/{SERVICE}/Each")(iter([b"a"] * 3))]) == 3
    with pytest.raises(grpc.aio.AioRpcError):
        await call(channel, "Fail")


async def fails(_: bytes, __: Any) -> bytes:
    raise ValueError


async def test_concurrent_calls_of_each_kind_are_counted_exactly() -> None:
    async with a_server(Fail=fails) as server, grpc.aio.insecure_channel(server.address) as channel:
        await asyncio.gather(*(calls_of_each_kind(channel) for _ in range(40)))
        await handled(server, "Fail")
        found = await samples(server)
    kinds = {"Echo": "unary", "EchoInThread": "unary", "Fail": "unary", "Repeat": "server_stream"}
    kinds |= {"RepeatInThread": "server_stream", "Join": "client_stream", "Each": "bidi_stream"}
    for method, kind in kinds.items():
        labels = {"grpc_service": SERVICE, "grpc_method": method, "grpc_type": kind}
        code = "Internal" if method == "Fail" else "OK"
        assert value(found, "grpc_server_started_total", **labels) == 40
        assert value(found, "grpc_server_handled_total", **labels, grpc_code=code) == 40
        assert value(found, "grpc_server_handling_seconds_count", **labels) == 40
        assert value(found, "grpc_server_handling_seconds_bucket", **labels, le="+Inf") == 40
        assert value(found, "grpc_server_handling_seconds_bucket", **labels, le="0.005") <= 40
        assert value(found, "grpc_server_in_flight", **labels) == 0
    assert len([name for name, _ in found if name == "grpc_server_handled_total"]) == len(kinds)
    received = {"Echo": 1, "EchoInThread": 1, "Fail": 1, "Repeat": 1, "RepeatInThread": 1, "Join": 3, "Each": 3}
    sent = {"Echo": 1, "EchoInThread": 1, "Repeat": 3, "RepeatInThread": 3, "Join": 1, "Each": 3}
    for way, each in {"received": received, "sent": sent}.items():
        assert {
            dict(labels)["grpc_method"]: count
            for (name, labels), count in found.items()
            if name.endswith(f"{way}_total")
        } == {method: 40 * messages for method, messages in each.items()}


async def test_the_example_of_a_bucket_is_the_trace_of_the_last_call() -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with a_server() as server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Echo", metadata=[("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01")])
        _, text = await scrape(server, Accept=OPENMETRICS)
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(text)}
    (example,) = (sample.exemplar for sample in families["grpc_server_handling_seconds"].samples if sample.exemplar)
    assert example.labels == {"trace_id": trace_id}


async def test_buckets_are_those_of_the_option() -> None:
    option = hrpc.with_metrics(0, buckets=(0.25, 2_000_000))
    async with a_server(option) as server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Echo")
        found = await samples(server)
    bounds = {dict(labels)["le"] for name, labels in found if name == "grpc_server_handling_seconds_bucket"}
    assert bounds == {"0.25", "2e+06", "+Inf"}


async def test_pools_registration_and_ages_are_there(
    consul: ConsulServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hrpc.database import redis

    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    await agent.store(consul.address, "metrics-test/key", "1")
    options = (
        hrpc.with_consul(Consul(address=consul.address, prefix="metrics-test")),
        hrpc.with_databases(redis.new(address=redis_server.host, port=redis_server.port)),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    async with a_server(*options) as server:
        await service.ready("measured")
        assert configs.get("key") == "1"
        found = await samples(server)
        assert value(found, "hrpc_registered") == 1
        assert value(found, "hrpc_pool_connections", pool="redis", state="used") == 0
        assert value(found, "hrpc_pool_connections", pool="redis", state="idle") >= 0
        assert value(found, "hrpc_pool_waiting", pool="redis") == 0
        assert 0 <= value(found, "hrpc_upstream_age_seconds", service="measured") < 60
        assert value(found, "hrpc_config_age_seconds", key="metrics-test/key") >= 0


async def test_lines_that_the_log_has_dropped_are_counted() -> None:
    async with a_server() as server:
        assert value(await samples(server), "hrpc_log_dropped_total") == 0


async def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    async with a_server() as server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Echo")
        kind, text = await scrape(server, Accept=OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    assert text.count("# EOF") == 1
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(text)}
    assert [sample.value for sample in families["grpc_server_started"].samples] == [
        float(sample.labels["grpc_method"] == "Echo") for sample in families["grpc_server_started"].samples
    ]


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=new", "text/plain; version=", ";", "\xff"])
async def test_who_asks_for_a_format_that_does_not_exist_gets_plain_text(accept: str) -> None:
    async with a_server() as server:
        kind, text = await scrape(server, Accept=accept)
    assert kind.startswith("text/plain")
    assert "grpc_server_started_total" in text


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("deflate, GZIP;q=0.5", "gzip"), ("gzip; q=0", None), ("identity", None)],
)
async def test_answers_are_packed_for_who_takes_gzip(accepted: str, coding: str | None) -> None:
    async with a_server() as server, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        async with session.get(url, headers={"Accept-Encoding": accepted}) as response:
            assert response.headers.get("Content-Encoding") == coding
            assert "grpc_server_started_total" in await response.text()


async def test_hundreds_of_methods_are_scraped_whole() -> None:
    methods = {f"Method{number}": echo for number in range(900)}
    async with a_server(**methods) as server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Method0")
        await call(channel, "Method899")
        found = await samples(server)
    counted = {dict(labels)["grpc_method"] for name, labels in found if name == "grpc_server_started_total"}
    assert set(methods) <= counted
    for method in ("Method0", "Method899"):
        assert value(found, "grpc_server_handled_total", **{**ECHO, "grpc_method": method}, grpc_code="OK") == 1
