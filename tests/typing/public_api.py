"""What type checkers know of the public names; ``make check`` reads this file, nothing runs it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, assert_type

import grpc
import grpc.aio
from loguru import logger
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

import hrpc
import hrpc_configs
import hrpc_kafka
import hrpc_location
import hrpc_uniqueid
from hrpc import Consul, Environment, configs, errors, life, log, metrics, queues, service, uniqueid
from hrpc.database import mysql, redis, sqlalchemy
from hrpc.database.mysql import MySQL, Result
from hrpc.testing import DevConsul, assert_call_error, assert_service_error, managed, provide
from tests.queues.memory import Memory


class OutOfStock(
    errors.CallError, issuer="SHOP", code=2000, grpc_code=grpc.StatusCode.FAILED_PRECONDITION, message="out of stock"
):
    """An error of the user's."""


class Announcing(hrpc.plugin.Plugin):
    name = "acme-announcing"
    depends_on = ("acme-flags",)
    options = (hrpc.with_ping(),)
    health_checks: Mapping[str, Callable[[], bool]] = {"well": lambda: True}
    commands: Mapping[str, str] = {"acme": "acme:command"}

    @asynccontextmanager
    async def announce(self, server: hrpc.plugin.Announced) -> AsyncIterator[None]:
        server.when_drained(close_something)
        server.when_maintained(lambda reason: assert_type(reason, str | None))
        assert_type(server.methods, Sequence[str])
        yield


@dataclass
class Limits:
    per_order: int = 1
    token: hrpc_configs.Secret[str] = ""


class Consumer:
    id = "consumer"

    @asynccontextmanager
    async def setup(self) -> AsyncIterator[None]:
        yield

    async def run(self) -> None: ...


class Feed:
    id = "feed"
    workers = "one"

    async def setup(self) -> None: ...

    def register_on_server(self, server: Any) -> None: ...


async def on_order(message: queues.Message) -> None:
    assert_type(message.json(Limits), Limits)
    raise queues.Reject(message.topic)


limits = hrpc_configs.Settings(Limits, key="limits", file=Path("limits.toml"), env="ORDERS_")


async def close_something() -> None: ...


async def auth(call: Any) -> str:
    return str(call.method)


server = hrpc.new_server(
    hrpc.with_server_name("orders"),
    hrpc.with_environment(Environment.DEVELOPMENT),
    hrpc.with_consul(Consul(address="127.0.0.1:8500", token=None)),
    hrpc.with_snapshot("/var/lib/orders/snapshot", max_age=3600, secrets=True),
    hrpc.with_databases(mysql.new(), redis.new(address="127.0.0.1", port=6379)),
    hrpc.with_health_check(),
    hrpc.with_health_check(6688, kind="ttl"),
    hrpc.with_registration(
        version="1.4.2", zone="eu-1a", tagged_addresses={"wan": ("203.0.113.7", 443), "v6": "fd00::7"}
    ),
    hrpc.with_registration(in_consul=False),
    hrpc.with_metrics(port=2112, buckets=(0.01, 0.1, 1)),
    hrpc.with_metrics(port=2112),
    hrpc.with_event_loop("uvloop"),
    hrpc.with_engine("native", allow_unbounded_receive=True, io_threads=1),
    hrpc.with_workers("auto"),
    hrpc.with_exit_listeners(close_something, lambda: None),
    hrpc.with_pre_run(close_something, priority=hrpc.Priority.FIRST, name="something"),
    hrpc.with_post_run(lambda: None),
    hrpc.with_start_limit(30),
    hrpc.with_message_queues(
        Memory((queues.Subscription(("orders",), on_order, retry=queues.Retry(3)),)),
        hrpc_kafka.new(hrpc_kafka.consume("orders", on_order, group="billing", concurrency=8), brokers=["a", "b:9093"]),
    ),
    hrpc.with_plugins(limits, "acme-flags", Announcing()),
    hrpc.plugin.option("acme.with_announcing", Announcing()),
    hrpc.with_services(Consumer(), Feed(), max_shutdown=None),
    hrpc.with_ping(),
    hrpc.with_node_id(7),
    hrpc.with_log_times(time="UTC", berlin_time=UTC),
    hrpc.with_not_found(),
    hrpc.with_error_details(host=True, stack=False, context=None, source=False),
    hrpc.with_tracing(0.1, processors=()),
    hrpc.with_auth(auth, methods={"shop.Users/Login": None}),
    hrpc.with_rate_limit(500, burst=50, methods={"shop.Orders": 100, "shop.Orders/Get": (0.5, 1), "shop.Feed": None}),
    hrpc.with_concurrency_limit(1000, methods={"shop.Orders/Export": 2, "shop.Feed": None}, lag=0.1),
    hrpc.with_retry(3, idempotent=("shop.Orders/Get",), budget=0.2),
    hrpc.with_hedging(["shop.Prices/Get"], delay=0.02, attempts=2),
    hrpc.with_balancer("p2c", slow_start=10, services={"carts": hrpc.BalancerSettings("consistent_hash", "user-id")}),
    hrpc.with_circuit_breaker(failures=0.5, window=10, per="method"),
    hrpc.with_log_file(Path("/var/log/orders.log")),
    hrpc.with_audit_log(sample=0.1, payloads=True, redact=["card_number"]),
    hrpc.with_message_limits(receive=1024, send=1024),
    hrpc.with_keepalive(time=10, timeout=2.0, idle=30, age=55, age_grace=5),
    hrpc.with_compression("gzip"),
    hrpc.with_max_streams(100),
    hrpc.with_server_certs("tls.crt", Path("tls.key"), client_ca="ca.crt"),
    hrpc.with_client_certs("ca.crt", "tls.crt", Path("tls.key"), name="{service}.internal", allow_plain=True),
    hrpc.with_reflection(),
    hrpc.with_channelz(False),
    hrpc.with_static_services({"users": ["127.0.0.1:9000", {"address": "[::1]:9000", "weight": 2}]}),
    hrpc.with_static_services(Path("services.json")),
    hrpc.with_debug("0123456789abcdef", loopback=False),
)
life.when_exit(close_something)
life.when_restart(lambda: None)
hrpc.health.check("closing", lambda: True, kind="liveness", timeout=2, every=5.0)
hrpc.health.check("closing too", close_something)
hrpc.health.close("readiness", "by hand")
hrpc.health.open("readiness")
hrpc.health.set_serving("shop.Orders", False)
metrics.register_counter("paid", "Orders that were paid.", labels=("currency",))
metrics.register_gauge("queue", "Orders that wait.")
metrics.register_gauge("queues", "Orders that wait.", workers="sum")
metrics.register_gauge("waiting", "Orders that wait.", ("queue",), read=lambda: {"fast": 1})
metrics.register_counter("moved", "Orders that were moved.", ("from", "to"), read=lambda: {("fast", "slow"): 1.5})
metrics.register_counter("seen", "Orders that were seen.", read=lambda: 7)
metrics.register_histogram("items", "Items of an order.", ["currency"], buckets=range(1, 5))


async def job() -> int:
    return 1


async def job_with_value(value: str) -> None: ...


def blocking_job() -> str:
    return ""


def blocking() -> None:
    assert_type(server, hrpc.Server)
    assert_type(server.server, hrpc.Server)
    assert_type(server.run(job), int)
    assert_type(server.run(job_with_value, "x", timeout=60, heartbeat=False), None)
    assert_type(uniqueid.next_id(), int)
    assert_type(hrpc_uniqueid.with_leased_node_id(ttl=30), hrpc.Option)
    assert_type(hrpc_location.with_zones(office="Europe/Berlin", ship=UTC, log=("office", "UTC")), hrpc.Option)
    assert_type(hrpc_location.now("office"), datetime)
    assert_type(hrpc_location.pst(), tzinfo)
    assert_type(uniqueid.parts(uniqueid.next_ids(2)[0]), uniqueid.Parts)
    assert_type(server.run(blocking_job, heartbeat="/run/nightly"), str)
    assert_type(server.port, int)
    assert_type(server.address, str)
    assert_type(hrpc.worker(), int | None)
    server.serve()


async def with_hosted_services() -> None:
    assert_type(await hrpc_kafka.get().produce("orders", b"", key=b"7", headers={"version": "2"}), str)
    try:
        async with server:
            pass
    except errors.ManagerError as failed:
        assert_type(failed.run, errors.ServicesErrors | None)
        assert_type(failed.of("feed"), tuple[errors.HostedServiceError, ...])
        for error in failed.setup.errors if failed.setup else ():
            assert_type(error.service_id, str)
            assert_type(error.error, Exception)


async def in_a_handler() -> None:
    assert_type(hrpc.draining().is_set(), bool)
    await hrpc.draining().wait()
    assert_type(mysql.get(), MySQL)
    assert_type(mysql.get("reports"), MySQL)
    assert_type(sqlalchemy.engine("reports"), AsyncEngine)
    assert_type(await mysql.get().query_one("SELECT %s", 1), dict[str, Any] | None)
    assert_type(await mysql.get().query("SELECT 1"), list[dict[str, Any]])
    assert_type(await mysql.get().execute("DELETE FROM a"), Result)
    assert_type(await mysql.valid(), bool)
    await server.enter_maintenance("upgrade")
    await server.leave_maintenance()
    server.start_shutdown()
    await server.wait_for_shutdown()
    async with mysql.get().transaction() as transaction:
        assert_type(await transaction.query_one("SELECT 1"), dict[str, Any] | None)
    assert_type(redis.get(), Redis)
    found = service.get("users")
    assert_type(found, service.Service)
    assert_type(found.target(), str)
    await service.ready("users", timeout=1.0)
    assert_type(service.get("users", ["canary"], version="2", datacenters=("dc1", "dc2")), service.Service)
    assert_type(await service.list(), dict[str, tuple[str, ...]])
    async for change in service.watch("users"):
        assert_type(change.added, tuple[service.Instance, ...])
    async with service.channel("users") as channel:
        accepted: grpc.aio.Channel = channel
        assert accepted
    assert_type(configs.get("key"), str)
    assert_type(configs.sget("key"), str)
    assert_type(configs.get("key", int), int)
    assert_type(configs.sget("key", list[int]), list[int])
    await configs.ready("key", "other")
    await configs.sready("key")
    with configs.watch("key", lambda value: None, int) as watching:
        assert_type(watching, configs.Watching)
    configs.swatch("key", job_with_value).cancel()
    assert_type(limits.get(), Limits)
    assert_type(limits.get().token, str)
    assert_type(limits.explain(), hrpc_configs.Explanation)
    limits.watch(lambda newest: None).cancel()
    await configs.set("key", "value")
    assert_type(log.with_fields(order=7), log.Logger)
    logging.getLogger().addFilter(log.add_trace)
    logger.configure(patcher=log.add_trace)
    log.with_fields(order=7).with_fields(state="new").info("paid {}", 3, total=5)
    assert_type(hrpc.go(job()), asyncio.Task[int | None])
    metrics.incr("paid", currency="EUR")
    metrics.incr("paid", by=2, currency="EUR")
    metrics.set("queue", 1.5)
    metrics.observe("items", 3, currency="EUR")
    with hrpc.background_context(timeout=1.0) as context:
        assert_type(context, hrpc.Context)
        assert_type(context.identity, Any)
        assert_type(context.time_remaining(), float | None)


def in_a_thread() -> None:
    assert_type(hrpc.from_thread.run(job), int)


async def in_a_caller() -> None:
    try:
        raise OutOfStock("only 3 left", retry_after=1.5, violations={"count": "too many"})
    except OutOfStock as error:
        assert_type(error.code(), grpc.StatusCode)
        assert_type(error.retry_after, float | None)
        assert_type(error.trace, tuple[errors.Hop, ...])
    except grpc.aio.AioRpcError:
        pass


async def in_a_test_of_services() -> None:
    async with managed(server) as manager:
        await manager.ping(timeout=1)
        assert_type(manager.services, tuple[str, ...])
        assert_type(manager.channel, grpc.aio.Channel)
        manager.send(signal.SIGTERM)
        error = await manager.ended()
    assert_type(error, hrpc.HrpcError | None)
    assert_type(assert_service_error(error, "feed", "run", OSError), OSError)
    assert_type(assert_call_error(error, OutOfStock, trace=["shop"]), OutOfStock)


async def in_a_test() -> None:
    async with DevConsul(kv={"development/databases/mysql": {"address": "127.0.0.1"}}) as consul, server as running:
        assert_type(consul.address, str)
        assert_type(running, hrpc.Server)
        with provide(mysql, object()):
            pass


def mistakes() -> None:
    hrpc.health.check("closing", close_something())  # type: ignore[arg-type]
    hrpc.with_listen_port("8888")  # type: ignore[arg-type]
    hrpc.with_consul("127.0.0.1:8500")  # type: ignore[arg-type]
    metrics.incr("paid", by="2")  # type: ignore[arg-type]
    hrpc.with_compression("zstd")  # type: ignore[arg-type]
    hrpc.with_target("dns")  # type: ignore[arg-type]
    hrpc.with_error_details(stack=None)  # type: ignore[arg-type]
    OutOfStock("only 3 left", retry="now")  # type: ignore[call-arg]
    mysql.new(host="127.0.0.1")  # type: ignore[call-arg]
    redis.new(port="6379")  # type: ignore[arg-type]
    hrpc.with_auth(blocking)  # type: ignore[arg-type]
    hrpc.new_server("orders")  # type: ignore[arg-type]
    server.run(5)  # type: ignore[call-overload]
