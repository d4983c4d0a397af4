"""Messages to Kafka and from it: what becomes of them, in which order, and with which trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kafka_service import AT_ONCE, Seen, a_service, first, local, reading

import hrpc_kafka as kafka
from hrpc.errors import QueueRefused, Reject
from hrpc.queues import Retry
from hrpc_kafka.testing import MockCluster


async def test_a_message_is_produced_consumed_and_committed(cluster: MockCluster) -> None:
    cluster.create("made")
    seen = Seen()
    recipe = local(cluster, kafka.consume("made", seen, group="made"))
    async with a_service(recipe):
        place = await kafka.get().produce("made", b"body", key=b"7", headers={"version": "2"})
        await seen.until(lambda seen: bool(seen.bodies))
    (message,) = seen.messages
    assert place == message.id == "0/0"
    assert (message.topic, message.body, message.key, message.attempt) == ("made", b"body", b"7", 1)
    assert message.headers["version"] == "2"
    assert message.timestamp > 1.7e9
    again = Seen()
    async with a_service(local(cluster, kafka.consume("made", again, group="made"))):
        await kafka.get().produce("made", b"next")
        await again.until(lambda seen: bool(seen.bodies))
    assert again.bodies == [b"next"]


async def test_what_is_behind_a_message_that_fails_waits_until_it_is_handled(cluster: MockCluster) -> None:
    cluster.create("ordered")

    def fail_twice(message: Any) -> None:
        if message.body == b"1" and message.attempt < 3:
            raise ZeroDivisionError

    seen = Seen(fail_twice)
    async with a_service(local(cluster, kafka.consume("ordered", seen, group="g", retry=AT_ONCE, concurrency=8))):
        for body in (b"0", b"1", b"2", b"3"):
            await kafka.get().produce("ordered", body)
        await seen.until(lambda seen: len(seen.bodies) == 6)
    assert seen.bodies == [b"0", b"1", b"1", b"1", b"2", b"3"]
    assert [message.attempt for message in seen.messages] == [1, 1, 2, 3, 1, 1]


async def test_another_partition_goes_on_while_one_waits_for_a_retry(cluster: MockCluster) -> None:
    cluster.create("apart", 2)

    def fail(message: Any) -> None:
        if message.body == b"stuck":
            raise ZeroDivisionError

    seen = Seen(fail)
    slow = Retry(attempts=2, base=3600, max_delay=3600)
    async with a_service(local(cluster, kafka.consume("apart", seen, group="g", retry=slow))):
        await kafka.get().produce("apart", b"stuck", partition=0)
        await kafka.get().produce("apart", b"behind", partition=0)
        await seen.until(lambda seen: seen.bodies == [b"stuck"])
        for number in range(5):
            await kafka.get().produce("apart", b"%d" % number, partition=1)
        await seen.until(lambda seen: len(seen.bodies) == 6)
    assert b"behind" not in seen.bodies


async def test_a_poison_message_goes_to_the_dead_letters_with_the_reason_and_what_is_behind_it_is_handled(
    cluster: MockCluster,
) -> None:
    cluster.create("poisoned")
    cluster.create("poisoned.billing.dead")

    def fail(message: Any) -> None:
        if message.body == b"poison":
            message.json(dict)

    seen = Seen(fail)
    async with a_service(local(cluster, kafka.consume("poisoned", seen, group="billing", retry=AT_ONCE))):
        await kafka.get().produce("poisoned", b"poison", key=b"7", headers={"version": "2"})
        await kafka.get().produce("poisoned", b"good")
        await seen.until(lambda seen: b"good" in seen.bodies)
    (letter,) = await first(cluster, "poisoned.billing.dead")
    assert (letter.key, letter.value) == (b"7", b"poison")
    headers = {name: value.decode() for name, value in letter.headers}
    assert "message poisoned 0/0: expected JSON" in headers["hrpc-dead-reason"]
    assert headers["hrpc-dead-error"] == "InvalidConfig"
    assert headers["hrpc-dead-attempts"] == "3"
    assert (headers["hrpc-dead-topic"], headers["hrpc-dead-partition"], headers["hrpc-dead-offset"]) == (
        "poisoned",
        "0",
        "0",
    )
    assert (headers["hrpc-dead-group"], headers["version"]) == ("billing", "2")


async def test_a_rejected_message_goes_to_the_dead_letters_at_once(cluster: MockCluster) -> None:
    cluster.create("rejected")
    cluster.create("rejects")

    def reject(message: Any) -> None:
        raise Reject("a negative total")

    seen = Seen(reject)
    async with a_service(local(cluster, kafka.consume("rejected", seen, group="g", dead_letter="rejects"))):
        await kafka.get().produce("rejected", b"x")
        (letter,) = await first(cluster, "rejects")
    assert dict(letter.headers)["hrpc-dead-reason"] == b"a negative total"
    assert len(seen.bodies) == 1


async def test_a_handler_that_hangs_is_cancelled_and_its_partition_goes_on(cluster: MockCluster) -> None:
    cluster.create("hung")
    cluster.create("hung.g.dead")
    cancelled: list[bytes] = []
    done = asyncio.Event()

    async def on_message(message: Any) -> None:
        if message.body == b"good":
            done.set()
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(message.body)
            raise

    hung = kafka.consume("hung", on_message, group="g", timeout=0.05, retry=Retry(2, base=0))
    async with asyncio.timeout(60), a_service(local(cluster, hung)):
        await kafka.get().produce("hung", b"bad")
        await kafka.get().produce("hung", b"good")
        await done.wait()
    assert cancelled == [b"bad", b"bad"]
    (letter,) = await first(cluster, "hung.g.dead")
    assert b"has not ended within 0.05 s" in dict(letter.headers)["hrpc-dead-reason"]


async def test_partitions_are_worked_on_at_once_and_each_in_its_order(cluster: MockCluster) -> None:
    cluster.create("parallel", 4)
    running = 0
    most = 0
    enough_run = asyncio.Event()

    async def on_message(message: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            enough_run.set()
        await enough_run.wait()
        await asyncio.sleep(0.001)
        running -= 1
        await seen(message)

    seen = Seen()
    async with a_service(local(cluster, kafka.consume("parallel", on_message, group="g", concurrency=3))):
        for number in range(100):
            await kafka.get().produce("parallel", b"%d" % number, partition=number % 4)
        await seen.until(lambda seen: len(seen.bodies) == 100)
    assert most == 3
    for partition in range(4):
        mine = [int(message.body) for message in seen.messages if message.raw.partition == partition]
        assert mine == sorted(mine)


async def test_several_topics_and_subscriptions_share_a_server(cluster: MockCluster) -> None:
    cluster.create("one")
    cluster.create("two")
    both, only = Seen(), Seen()
    recipe = local(cluster, kafka.consume(["one", "two"], both, group="both"), kafka.consume("one", only, group="only"))
    async with a_service(recipe):
        await kafka.get().produce("one", b"1")
        await kafka.get().produce("two", b"2")
        await both.until(lambda seen: sorted(seen.bodies) == [b"1", b"2"])
        await only.until(lambda seen: seen.bodies == [b"1"])


async def test_a_message_that_is_too_large_is_refused(cluster: MockCluster) -> None:
    async with a_service(local(cluster, max_message_bytes=1000)):
        with pytest.raises(QueueRefused, match=r"a message to 'large' was not sent: the message is too large"):
            await kafka.get().produce("large", b"x" * 2000)


async def test_a_group_that_is_new_may_begin_with_what_comes_from_now_on(cluster: MockCluster) -> None:
    cluster.create("late")
    async with a_service(local(cluster)):
        await kafka.get().produce("late", b"old")
    seen = Seen()
    async with a_service(local(cluster, kafka.consume("late", seen, group="g", start="latest"))):
        async with reading(cluster, "late", group="other"):
            pass
        while not seen.bodies:
            await kafka.get().produce("late", b"new")
            await asyncio.sleep(0.02)
    assert set(seen.bodies) == {b"new"}
