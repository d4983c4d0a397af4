"""What goes wrong between a service and Kafka: processes that are killed, groups that are shared anew, brokers away."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections import Counter
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance
from kafka_service import AT_ONCE, Seen, a_service, leader_that_waits, local, reading

import hrpc
import hrpc_kafka as kafka
from hrpc.errors import QueueError, QueueUnavailable, StartError
from hrpc_kafka import broker, consuming, quiet, rebalancing
from hrpc_kafka.testing import MockCluster
from tests.eventually import eventually

KILLED = """
import asyncio, os, signal, sys
import hrpc, hrpc_kafka as kafka

async def on_message(message):
    print("handled", message.body.decode(), flush=True)
    if message.body == b"last":
        os.kill(os.getpid(), signal.SIGKILL)

recipe = kafka.new(kafka.consume("killed", on_message, group="g"), brokers=sys.argv[1], session_timeout=1.5)
hrpc.new_server(
    hrpc.with_server_name("killed"), hrpc.with_listen_port(0, host="127.0.0.1"), hrpc.with_message_queues(recipe)
).serve()
"""


@pytest.fixture
def followers_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CoordinatorGroupRebalance, "_on_join_leader", leader_that_waits)


async def committed(cluster: MockCluster, topic: str, group: str, partitions: int = 1) -> list[int | None]:
    async with reading(cluster, group=group) as consumer:
        consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
        return [await consumer.committed(TopicPartition(topic, number)) for number in range(partitions)]


async def test_a_message_comes_again_when_its_process_is_killed_between_handling_and_commit(
    cluster: MockCluster,
) -> None:
    cluster.create("killed")
    async with a_service(local(cluster)):
        for body in (b"first", b"last"):
            await kafka.get().produce("killed", body)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, cluster.address, stdout=asyncio.subprocess.PIPE, env=environment
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == -signal.SIGKILL
    assert b"handled last" in output
    seen = Seen()
    async with a_service(local(cluster, kafka.consume("killed", seen, group="g"))):
        await seen.until(lambda seen: b"last" in seen.bodies)
    assert await committed(cluster, "killed", "g") == [2]


async def test_a_stop_under_load_loses_nothing_and_doubles_nothing(cluster: MockCluster) -> None:
    cluster.create("load", 4)
    handled: Counter[bytes] = Counter()
    enough = asyncio.Event()

    async def on_message(message: Any) -> None:
        await asyncio.sleep(0.0005)
        handled[message.body] += 1
        if handled.total() % 400 == 0:
            enough.set()

    recipe = local(cluster, kafka.consume("load", on_message, group="g", concurrency=4))
    async with a_service(local(cluster, linger=0.005)):
        await asyncio.gather(*(kafka.get().produce("load", b"%d" % number) for number in range(2000)))
    for _ in range(3):
        enough.clear()
        async with a_service(recipe):
            async with asyncio.timeout(60):
                await enough.wait()
    async with a_service(recipe):
        await eventually(lambda: _holds(lambda: len(handled) == 2000))
    assert set(handled.values()) == {1}
    assert sum(offset or 0 for offset in await committed(cluster, "load", "g", 4)) == 2000


async def _holds(look: Any) -> bool:
    return bool(look())


async def test_what_a_stop_cuts_off_is_not_committed_and_comes_again(cluster: MockCluster) -> None:
    cluster.create("cut")
    entered = asyncio.Event()

    async def hang(message: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with a_service(local(cluster, kafka.consume("cut", hang, group="g")), hrpc.with_graceful_stop(grace=0.05)):
        await kafka.get().produce("cut", b"x")
        await entered.wait()
    assert await committed(cluster, "cut", "g") == [None]
    seen = Seen()
    async with a_service(local(cluster, kafka.consume("cut", seen, group="g"))):
        await seen.until(lambda seen: seen.bodies == [b"x"])


class Held(Seen):
    """A handler that waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def __call__(self, message: Any) -> None:
        await super().__call__(message)
        await self.let_go.wait()


@pytest.mark.usefixtures("followers_first")
async def test_a_group_that_is_shared_anew_waits_for_the_handlers_before_others_get_their_partitions(
    cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.create("shared", 2)
    happened: list[str] = []
    let_go = asyncio.Event()
    as_it_is = rebalancing.Rebalancing.on_partitions_revoked

    async def told(self: Any, revoked: Any) -> None:
        if revoked and not let_go.is_set():
            asyncio.get_running_loop().call_later(0.1, let_go.set)
        await as_it_is(self, revoked)

    async def on_message(message: Any) -> None:
        started.append(message.body)
        await let_go.wait()
        happened.append(f"ended {message.body.decode()}")

    started: list[bytes] = []
    new = Seen(lambda message: happened.append(f"moved {message.body.decode()}"))
    monkeypatch.setattr(rebalancing.Rebalancing, "on_partitions_revoked", told)
    async with a_service(local(cluster, kafka.consume("shared", on_message, group="g", concurrency=2))):
        await kafka.get().produce("shared", b"0", partition=0)
        await kafka.get().produce("shared", b"1", partition=1)
        await eventually(lambda: _holds(lambda: len(started) == 2))
        async with asyncio.timeout(60):
            await _beside(cluster, "shared", new)
        await eventually(lambda: _holds(lambda: {line[-1] for line in happened} == {"0", "1", "2", "3"}))
    assert sorted(happened[:2]) == ["ended 0", "ended 1"]
    # The mock cluster takes no commit while a group is shared anew, as brokers do: what moves is handled once more.
    assert len(happened) in (4, 5)
    assert await committed(cluster, "shared", "g", 2) == [2, 2]


async def _beside(cluster: MockCluster, topic: str, seen: Seen) -> None:
    """Runs a second service of the group in an event loop of its own, which gets a partition, and a message there."""

    def run() -> None:
        async def life() -> None:
            mine = Seen(lambda message: loop.call_soon_threadsafe(seen.take, message))
            async with a_service(local(cluster, kafka.consume(topic, mine, group="g"))):
                for number in (0, 1):
                    await kafka.get().produce(topic, b"%d" % (number + 2), partition=number)
                await mine.until(lambda seen: bool({b"2", b"3"} & set(seen.bodies)))

        asyncio.run(life())

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(run)


@pytest.mark.usefixtures("followers_first")
async def test_a_handler_that_outlasts_the_patience_of_its_group_commits_nothing_that_others_have(
    cluster: MockCluster, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(rebalancing, "PATIENCE", 0.1)
    cluster.create("outlasted", 2)
    old, new = Held(), Seen()
    async with a_service(local(cluster, kafka.consume("outlasted", old, group="g", concurrency=2))):
        await kafka.get().produce("outlasted", b"0", partition=0)
        await kafka.get().produce("outlasted", b"1", partition=1)
        await old.until(lambda seen: len(seen.bodies) == 2)
        async with asyncio.timeout(60):
            await _beside(cluster, "outlasted", new)
        old.let_go.set()
        await old.until(lambda seen: set(seen.bodies + new.bodies) == {b"0", b"1", b"2", b"3"})
        await eventually(lambda: _holds(lambda: any("belongs to another consumer by now" in line for line in said)))
    # What has moved was handled twice; what has stayed was not.
    twice = Counter(old.bodies + new.bodies)
    assert sorted(twice.values()) in ([1, 1, 1, 2], [1, 1, 2, 2])
    assert await committed(cluster, "outlasted", "g", 2) == [2, 2]


async def test_consumers_and_producers_go_on_when_the_brokers_are_back(own_cluster: MockCluster) -> None:
    own_cluster.create("back")
    seen = Seen()
    server = a_service(
        local(own_cluster, kafka.consume("back", seen, group="g", retry=AT_ONCE), send_timeout=0.5),
        hrpc.with_health_check(0),
    )

    async def readiness() -> str:
        async with probe.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as response:
            return str((await response.json())["parts"]["kafka"])

    async def is_away() -> bool:
        return "no broker answers" in await readiness() or "no answer within" in await readiness()

    async def is_well() -> bool:
        return await readiness() == "ok"

    async def is_sent() -> bool:
        try:
            return bool(await kafka.get().produce("back", b"after"))
        except QueueUnavailable:
            return False

    async with server, aiohttp.ClientSession() as probe:
        await kafka.get().produce("back", b"before")
        await seen.until(lambda seen: seen.bodies == [b"before"])
        own_cluster.down()
        with pytest.raises(QueueUnavailable, match=r"kafka 127\.0\.0\.1:\d+: a message to 'back' was not sent"):
            await kafka.get().produce("back", b"meanwhile")
        await eventually(is_away)
        own_cluster.up()
        await eventually(is_well)
        await eventually(is_sent)
        await seen.until(lambda seen: b"after" in seen.bodies)


async def test_a_stop_while_the_brokers_are_away_ends_in_its_time(
    own_cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (broker, consuming):
        monkeypatch.setattr(module, "_STOP_LIMIT", 0.3)
    own_cluster.create("stopped")
    seen = Seen()
    server = a_service(local(own_cluster, kafka.consume("stopped", seen, group="g")))
    async with server:
        await kafka.get().produce("stopped", b"x")
        await seen.until(lambda seen: bool(seen.bodies))
        own_cluster.down()
        async with asyncio.timeout(10):
            await server.stop()


async def test_brokers_that_are_not_there_fail_the_start_with_a_message(free_port: int) -> None:
    recipe = kafka.new(brokers=f"127.0.0.1:{free_port}", username="u", password="s3cret")
    with pytest.raises(StartError, match=rf"kafka 127\.0\.0\.1:{free_port}: cannot connect: ") as caught:
        async with a_service(recipe):
            pass
    assert isinstance(caught.value.__cause__, QueueUnavailable)
    assert str(caught.value).endswith("; check that a broker is there, and 'brokers' and 'tls' in kafka.new()")
    assert "s3cret" not in str(caught.value) + repr(recipe)


async def test_a_commit_that_fails_is_told_and_the_consumer_goes_on(own_cluster: MockCluster, said: list[str]) -> None:
    own_cluster.create("refused")
    seen = Seen()
    async with a_service(local(own_cluster, kafka.consume("refused", seen, group="g"))):
        own_cluster.fail(8, 12)  # OffsetCommit: OFFSET_METADATA_TOO_LARGE, which no repetition mends
        await kafka.get().produce("refused", b"1")
        await eventually(lambda: _holds(lambda: any("not committed, and tried again" in s for s in said)))
        await kafka.get().produce("refused", b"2")
        await seen.until(lambda seen: seen.bodies == [b"1", b"2"])
    assert await committed(own_cluster, "refused", "g") == [2]


@pytest.mark.parametrize(
    ("code", "why"), [(3, "there is no such topic: create it"), (29, "no permission for the topic: change the ACLs")]
)
async def test_a_topic_that_is_missing_or_denied_is_told_by_readiness_and_to_who_sends(
    own_cluster: MockCluster, code: int, why: str
) -> None:
    own_cluster.create("denied")
    own_cluster.deny("denied", code)
    recipe = local(own_cluster, kafka.consume("denied", Seen(), group="g"), connect_timeout=0.5, send_timeout=0.5)
    server = a_service(recipe, hrpc.with_health_check(0))

    async def is_told() -> bool:
        async with probe.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as response:
            return f"cannot consume denied (g): {why}" in (await response.json())["parts"]["kafka"]

    async with server, aiohttp.ClientSession() as probe:
        with pytest.raises(QueueError, match="a message to 'denied' was not sent"):
            await kafka.get().produce("denied", b"x")
        await eventually(is_told)


async def test_consuming_begins_anew_when_the_library_fetches_no_more(
    cluster: MockCluster, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    cluster.create("fetched")
    fails = False
    as_it_is = Fetcher._get_actions_per_node

    def actions(self: Any, assignment: Any) -> Any:
        nonlocal fails
        if fails:
            fails = False
            raise ValueError("a fault of the library")
        return as_it_is(self, assignment)

    monkeypatch.setattr(Fetcher, "_get_actions_per_node", actions)
    seen = Seen()
    async with a_service(local(cluster, kafka.consume("fetched", seen, group="g"))):
        await kafka.get().produce("fetched", b"1")
        await seen.until(lambda seen: seen.bodies == [b"1"])
        fails = True
        await eventually(lambda: _holds(lambda: any("fetching has ended" in line for line in said)))
        await kafka.get().produce("fetched", b"2")
        await seen.until(lambda seen: seen.bodies == [b"1", b"2"])


async def test_consuming_begins_anew_when_nothing_is_committed_any_more(
    cluster: MockCluster, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    cluster.create("committed")
    as_it_is = AIOKafkaConsumer.commit

    async def commit(self: Any, offsets: Any) -> None:
        monkeypatch.setattr(AIOKafkaConsumer, "commit", as_it_is)
        raise ValueError("a fault of the library")

    monkeypatch.setattr(AIOKafkaConsumer, "commit", commit)
    seen = Seen()
    async with a_service(local(cluster, kafka.consume("committed", seen, group="g"))):
        await kafka.get().produce("committed", b"1")
        await eventually(lambda: _holds(lambda: any("committing has ended: a fault of the library" in s for s in said)))
        await kafka.get().produce("committed", b"2")
        await seen.until(lambda seen: seen.bodies[-1:] == [b"2"])
    assert await committed(cluster, "committed", "g") == [2]


async def test_readiness_tells_when_nothing_is_sent_any_more(cluster: MockCluster) -> None:
    server = a_service(local(cluster), hrpc.with_health_check(0))
    async with server, aiohttp.ClientSession() as probe:
        kafka.get().producer._sender.sender_task.cancel()
        await asyncio.wait({kafka.get().producer._sender.sender_task})
        async with probe.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as response:
            assert "nothing is sent any more" in (await response.json())["parts"]["kafka"]


def test_what_the_library_says_again_and_again_is_written_once_in_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = logging.getLogger("aiokafka")
    with quiet.repetitions():
        for _ in range(3):
            library.error("Unable connect to node with id %s", 1)
            library.error("Unable connect to node with id %s", 2)
        assert [record.args for record in caplog.records] == [(1,), (2,)]
        monkeypatch.setattr(quiet, "EVERY", 0.0)
        library.error("Unable connect to node with id %s", 1)
    library.error("Unable connect to node with id %s", 1)
    assert len(caplog.records) == 4
