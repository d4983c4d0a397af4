"""Kafka in the life of a server: its settings, the trace through it, metrics, workers, health."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import grpc.aio
import pytest
from aiokafka import TopicPartition
from kafka_service import Seen, a_service, local
from opentelemetry.trace import SpanKind

import hrpc
import hrpc_kafka as kafka
from hrpc import _runtime, context
from hrpc.abc import StoredSettings
from hrpc.cli.doctor.databases import message_queues
from hrpc.errors import InvalidConfig, NotRunning, OptionError, StartError
from hrpc.testing import DevConsul, provide
from hrpc_kafka import lag
from hrpc_kafka.testing import MockCluster
from tests.agent import store
from tests.echo import add_echo
from tests.eventually import eventually
from tests.server.recorded import LOCAL
from tests.tracing.spans import Spans, ids, parent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

WORKERS = """
import os, sys
import hrpc, hrpc_kafka as kafka
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance
from kafka_service import leader_that_waits

CoordinatorGroupRebalance._on_join_leader = leader_that_waits

async def on_message(message):
    os.write(1, f"handled {message.body.decode()} in {os.getpid()}\\n".encode())

recipe = kafka.new(kafka.consume("workers", on_message, group="g"), brokers=sys.argv[1], session_timeout=1.5)
hrpc.new_server(
    hrpc.with_server_name("workers"), hrpc.with_listen_port(int(sys.argv[2]), host="127.0.0.1"),
    hrpc.with_message_queues(recipe), hrpc.with_workers(2),
).serve()
"""


@pytest.mark.parametrize("traced", [True, False])
async def test_a_trace_goes_from_a_call_over_a_message_to_the_calls_of_its_handler(
    cluster: MockCluster, traced: bool
) -> None:
    topic = f"traced-{traced}"
    cluster.create(topic)
    reached: asyncio.Queue[context.Context] = asyncio.Queue()

    async def send(request: bytes, _: Any) -> bytes:
        await kafka.get().produce(topic, request)
        return request

    async def last(request: bytes, _: Any) -> bytes:
        current = context.current()
        assert current is not None
        reached.put_nowait(current)
        return request

    async def on_message(message: Any) -> None:
        async with grpc.aio.insecure_channel(server.address, interceptors=hrpc.client_interceptors()) as channel:
            await channel.unary_unary("/test.Echo/Last")(message.body)

    spans = Spans()
    options = [spans.option(1.0)] if traced else []
    server = a_service(local(cluster, kafka.consume(topic, on_message, group="g")), *options)
    add_echo(server, Send=send, Last=last)
    metadata = (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),)
    async with asyncio.timeout(60), server, grpc.aio.insecure_channel(server.address) as channel:
        await channel.unary_unary("/test.Echo/Send")(b"x", metadata=metadata)
        arrived = await reached.get()
    assert arrived.trace_id == TRACE
    assert arrived.server_name == "billing"
    if traced:
        serving, sending = spans.one("test.Echo/Send"), spans.one(f"send {topic}")
        handling = spans.one(f"process {topic}")
        (calling,) = (span for span in spans.named("test.Echo/Last") if span.kind is SpanKind.CLIENT)
        for child, above in ((sending, serving), (handling, sending), (calling, handling)):
            assert parent(child) == ids(above)[1]
        assert {ids(span)[0] for span in spans.ended} == {TRACE}
        assert handling.attributes is not None
        assert handling.attributes["messaging.consumer.group.name"] == "g"


async def test_the_settings_come_from_consul_and_those_in_code_win(cluster: MockCluster) -> None:
    stored = {"brokers": cluster.address.split(","), "send_timeout": 7, "unknown": 1, "username": None}
    async with DevConsul(kv={"development/messagequeues/kafka": stored}) as consul:
        server = a_service(kafka.new(send_timeout=3.0), hrpc.with_consul(hrpc.Consul(address=consul.address)))
        async with server:
            assert await kafka.get().produce("stored", b"x")
            assert kafka.get()._settings.send_timeout == 3.0


async def test_as_a_plugin_it_sends_with_the_settings_of_consul(
    cluster: MockCluster,
) -> None:
    stored = {"brokers": cluster.address}
    async with DevConsul(kv={"development/messagequeues/kafka": stored}) as consul:
        options = [
            hrpc.with_server_name("plugged"),
            hrpc.with_listen_port(0, host="127.0.0.1"),
            hrpc.with_consul(hrpc.Consul(address=consul.address)),
            hrpc.with_plugins(kafka.KafkaPlugin()),
        ]
        async with hrpc.new_server(*options):
            assert await kafka.get().produce("plugged", b"x")
        given = hrpc.with_message_queues(kafka.new(name="events", brokers=cluster.address))
        async with hrpc.new_server(*options, given):
            assert await kafka.get("events").produce("plugged", b"x")
            assert await kafka.get().produce("plugged", b"x")
    with pytest.raises(OptionError, match="'kafka' is the name of another one"):
        hrpc.new_server(*options, hrpc.with_message_queues(kafka.new(brokers=cluster.address)))


@pytest.mark.parametrize(
    ("value", "said_of_it"),
    [
        (None, r"key 'development/messagequeues/kafka' does not exist in Consul KV"),
        ("[]", r"development/messagequeues/kafka"),
        ("{", r"development/messagequeues/kafka"),
        ("{}", r"development/messagequeues/kafka: field 'brokers': expected a host name"),
        ('{"brokers": 9092}', r"field 'brokers': expected .*, found a number"),
        ('{"brokers": "a", "password": ["s3cret"]}', r"field 'password': expected a text, found a list"),
        (
            '{"brokers": "a", "sasl": {"password": ["s3cret"]}}',
            r"field 'sasl': expected an object with .*, found an",
        ),
        ('{"brokers": "user:s3cret@a:9092"}', r"field 'brokers': expected .*, found a text"),
        ('{"brokers": "a", "mechanism": "GSSAPI"}', r"field 'mechanism': expected 'PLAIN' or "),
    ],
)
async def test_settings_in_consul_that_are_missing_or_wrong_are_named_and_passwords_never_shown(
    value: str | None, said_of_it: str, said: list[str]
) -> None:
    async with DevConsul() as consul:
        if value is not None:
            await store(consul.address, "development/messagequeues/kafka", value)
        with pytest.raises(StartError, match=said_of_it) as caught:
            async with a_service(kafka.new(), hrpc.with_consul(hrpc.Consul(address=consul.address))):
                pass
    assert "s3cret" not in str(caught.value) + repr(caught.value.__cause__) + "".join(said)


async def test_a_password_is_in_no_repr_error_or_line_of_the_log(cluster: MockCluster, said: list[str]) -> None:
    recipe = kafka.new(brokers=cluster.address, username="orders", password="s3cret", connect_timeout=1.0)
    server = a_service(recipe)
    with pytest.raises(StartError) as caught:  # the mock cluster knows no SASL
        async with server:
            pass
    assert "s3cret" not in "".join([*said, str(caught.value), repr(recipe), repr(server.settings)])


def test_the_login_of_the_go_framework_is_one_and_fields_beside_it_win() -> None:
    def login(**stored: Any) -> tuple[Any, ...]:
        made = kafka.new().read(StoredSettings("k", {"brokers": "a", **stored})).connection("billing")
        return made["security_protocol"], made["sasl_plain_username"], made["sasl_plain_password"]

    theirs = {"username": "theirs", "password": "s3cret"}
    assert login(sasl=theirs) == ("SASL_PLAINTEXT", "theirs", "s3cret")
    assert login(sasl=theirs, username="ours", password="other") == ("SASL_PLAINTEXT", "ours", "other")
    for none in (None, {}, {"username": "", "password": ""}, {"username": None}):
        assert login(sasl=none) == ("PLAINTEXT", None, None)


def test_wrong_settings_are_refused_where_they_are_made() -> None:
    async def on_message(message: Any) -> None: ...

    with pytest.raises(OptionError, match=r"kafka.new\(\): there is no setting 'broker'"):
        kafka.new(broker="a")  # type: ignore[call-arg]
    with pytest.raises(InvalidConfig, match=r"kafka.new\(\): field 'compression': expected 'none' or"):
        kafka.new(brokers="a", compression="rar")
    with pytest.raises(OptionError, match=r"takes kafka.consume\(…\), not 7"):
        kafka.new(7)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="takes a name of at most 63"):
        kafka.new(name="a b", brokers="a")
    with pytest.raises(OptionError, match="takes the name of a consumer group"):
        kafka.consume("a", on_message, group="")
    with pytest.raises(OptionError, match='takes "earliest" or "latest"'):
        kafka.consume("a", on_message, group="g", start="now")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="its own dead letters"):
        kafka.consume("a", on_message, group="g", dead_letter="{topic}")
    with pytest.raises(NotRunning, match=r"hrpc.with_message_queues\(kafka.new\(\)\)"):
        kafka.get()


async def test_several_clusters_have_names(cluster: MockCluster) -> None:
    recipes = [kafka.new(brokers=cluster.address), kafka.new(name="events", brokers=cluster.address)]
    server = hrpc.new_server(
        hrpc.with_server_name("two"), hrpc.with_listen_port(0, "127.0.0.1"), hrpc.with_message_queues(*recipes)
    )
    async with server:
        assert kafka.get() is not kafka.get("events")
        with provide(kafka, "fake", "events"):
            assert kafka.get("events") == "fake"


async def test_the_lag_of_each_partition_is_told(cluster: MockCluster) -> None:
    cluster.create("lagging", 2)
    entered = asyncio.Event()

    async def hang(message: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with a_service(local(cluster)):
        for number in range(5):
            await kafka.get().produce("lagging", b"%d" % number, partition=1)
    server = a_service(
        local(cluster, kafka.consume("lagging", hang, group="g")),
        hrpc.with_metrics(0),
        hrpc.with_graceful_stop(grace=0),
    )

    async def told() -> bool:
        async with scraper.get(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
            text = await response.text()
        line = 'billing_queue_lag{group="g",partition="%d",queue="kafka",topic="lagging"} %d.0'
        return line % (0, 0) in text and line % (1, 5) in text

    async with server, aiohttp.ClientSession() as scraper:
        await entered.wait()
        await eventually(told)


async def test_a_partition_that_others_have_has_no_lag_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have it tell of it: together it would be there twice."""

    class Consumer:
        ours = frozenset({TopicPartition("orders", 0), TopicPartition("orders", 1)})

        def assignment(self) -> frozenset[TopicPartition]:
            return self.ours

        async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
            return dict.fromkeys(places, 7)

        async def position(self, place: TopicPartition) -> int:
            return 2

    def told(*lags: float) -> Callable[[], Awaitable[bool]]:
        async def is_told() -> bool:
            runtime = _runtime.current()
            assert runtime is not None
            values = runtime.metrics["queue_lag"].values()
            return values == {("kafka", "orders", "g", str(number)): lag for number, lag in enumerate(lags)}

        return is_told

    monkeypatch.setattr(lag, "_EVERY", 0.01)
    consumer: Any = Consumer()
    subscription = kafka.consume("orders", lambda message: None, group="g")
    async with hrpc.new_server(hrpc.with_server_name("billing"), LOCAL, hrpc.with_ping()):
        async with lag.measured("kafka", subscription, consumer, {}):
            await eventually(told(5, 5))
            consumer.ours = frozenset({TopicPartition("orders", 1)})
            await eventually(told(0, 5))
        await eventually(told(0, 0))


async def test_each_worker_consumes_and_the_group_shares_the_messages(cluster: MockCluster, free_port: int) -> None:
    cluster.create("workers", 4)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKERS, cluster.address, str(free_port), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    handled: dict[str, str] = {}
    try:
        async with asyncio.timeout(60), a_service(local(cluster)):
            number = 0
            while len(set(handled.values())) < 2:
                for partition in range(4):
                    await kafka.get().produce("workers", b"%d" % number, partition=partition)
                    number += 1
                while len(handled) < number:
                    words = (await process.stdout.readline()).decode().split()
                    if words[:1] == ["handled"]:
                        handled[words[1]] = words[3]
        process.send_signal(signal.SIGTERM)
        rest, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, rest.decode()


async def test_a_job_sends_and_consumes_nothing(cluster: MockCluster) -> None:
    cluster.create("job")
    seen = Seen()

    async def job() -> str:
        return await kafka.get().produce("job", b"x")

    server = a_service(local(cluster, kafka.consume("job", seen, group="g")))
    assert await asyncio.to_thread(server.run, job, heartbeat=False) == "0/0"
    assert seen.bodies == []


def test_importing_and_choosing_it_imports_no_library_of_kafka() -> None:
    import subprocess

    code = (
        "import sys, hrpc_kafka as kafka\n"
        "kafka.new(kafka.consume('a', print, group='g'), brokers='a')\n"
        "print(*(name for name in sys.modules if name.startswith('aiokafka')))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == []


async def test_hrpc_doctor_tells_whether_it_answers(cluster: MockCluster, free_port: int) -> None:
    away_from = f"127.0.0.1:{free_port}"
    queues = (kafka.new(brokers=cluster.address), kafka.new(name="away", brokers=away_from), kafka.new(name="kv"))
    case: Any = SimpleNamespace(server=SimpleNamespace(message_queues=queues), answers=False)
    well, away, kv = await message_queues(case)
    assert (well.level, well.text) == ("ok", "kafka: answers, with the settings of kafka.new()")
    assert (away.level, kv.level) == ("problem", "problem")
    assert f"away: kafka {away_from}: cannot connect" in away.text
    assert kv.text == "kv: its settings are in Consul, which does not answer"
