"""Metrics, as Prometheus reads them."""

from __future__ import annotations

from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from prometheus_client import REGISTRY, Counter
from prometheus_client.parser import text_string_to_metric_families

import hrpc
from hrpc import configs, service
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, RedisServer
from tests import agent
from tests.echo import SERVICE, add_echo, call

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(port: int, accept: str = "") -> tuple[str, str]:
    headers = {"Accept": accept} if accept else {}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 200
            return response.headers["Content-Type"], await response.text()


async def samples(port: int) -> Samples:
    _, text = await scrape(port)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def a_server(port: int, *options: hrpc.Option, **methods: Any) -> hrpc.Server:
    local = hrpc.with_listen_port(0, host="127.0.0.1")
    server = hrpc.new_server(hrpc.with_server_name("measured"), local, hrpc.with_metrics(port), *options)
    add_echo(server, **methods)
    return server


async def test_calls_are_counted_by_method_and_code_under_the_usual_names(free_port: int) -> None:
    async def fails(_: bytes, __: Any) -> bytes:
        raise ValueError

    async with a_server(free_port, Fail=fails) as server, grpc.aio.insecure_channel(server.address) as channel:
        for _ in range(3):
            await call(channel, "Echo")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, "Fail")
        assert [part async for part in channel.unary_stream(f"/{SERVICE}/Repeat")(b"a")]
        found = await samples(free_port)
    echo = {"grpc_service": SERVICE, "grpc_method": "Echo", "grpc_type": "unary"}
    fail = {**echo, "grpc_method": "Fail"}
    assert value(found, "grpc_server_started_total", **echo) == 3
    assert value(found, "grpc_server_handled_total", **echo, grpc_code="OK") == 3
    assert value(found, "grpc_server_handled_total", **fail, grpc_code="Internal") == 1
    assert value(found, "grpc_server_handling_seconds_count", **echo) == 3
    assert value(found, "grpc_server_handling_seconds_bucket", **echo, le="+Inf") == 3
    assert value(found, "grpc_server_handling_seconds_bucket", **echo, le="0.005") <= 3
    assert value(found, "grpc_server_in_flight", **echo) == 0
    repeat = {**echo, "grpc_method": "Repeat", "grpc_type": "server_stream"}
    assert value(found, "grpc_server_handled_total", **repeat, grpc_code="OK") == 1


async def test_pools_registration_and_ages_are_there(
    free_port: int, consul: ConsulServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hrpc.database import redis

    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    await agent.store(consul.address, "metrics-test/key", "1")
    options = (
        hrpc.with_consul(Consul(address=consul.address, prefix="metrics-test")),
        hrpc.with_databases(redis.new(address=redis_server.host, port=redis_server.port)),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    async with a_server(free_port, *options):
        await service.ready("measured")
        assert configs.get("key") == "1"
        found = await samples(free_port)
        assert value(found, "hrpc_registered") == 1
        assert value(found, "hrpc_pool_connections", pool="redis", state="used") == 0
        assert value(found, "hrpc_pool_connections", pool="redis", state="idle") >= 0
        assert value(found, "hrpc_pool_waiting", pool="redis") == 0
        assert 0 <= value(found, "hrpc_upstream_age_seconds", service="measured") < 60
        assert value(found, "hrpc_config_age_seconds", key="metrics-test/key") >= 0


async def test_what_the_user_counts_with_prometheus_client_is_there_too(free_port: int) -> None:
    counter = Counter("paid_orders", "Orders that were paid.")
    try:
        counter.inc(2)
        async with a_server(free_port):
            found = await samples(free_port)
        assert value(found, "paid_orders_total") == 2
        assert ("process_cpu_seconds_total", frozenset()) in found
    finally:
        REGISTRY.unregister(counter)


async def test_openmetrics_is_given_to_who_asks_for_it(free_port: int) -> None:
    async with a_server(free_port):
        kind, text = await scrape(free_port, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
