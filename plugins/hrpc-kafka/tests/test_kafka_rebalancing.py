"""What is known of a partition while its group is shared anew, with a consumer that does as it is told."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError

from hrpc_kafka.commits import Commits
from hrpc_kafka.partition import Ownership, Partition
from hrpc_kafka.rebalancing import Rebalancing

PLACE = TopicPartition("orders", 0)


class Consumer:
    """What a group has committed, and whether it takes commits now."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self.takes = True
        self.commits: list[Any] = []

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    async def committed(self, place: TopicPartition) -> int | None:
        return self.offset

    async def commit(self, offsets: Any) -> None:
        if not self.takes:
            raise CommitFailedError("the group is shared anew")
        self.commits.append(offsets)
        self.offset = offsets[PLACE]


class Group:
    """A consumer with one partition, of which some records were fetched."""

    def __init__(self, fetched: int) -> None:
        self.consumer = Consumer()
        self.offered: list[Partition] = []
        self.partitions = {PLACE: Partition(PLACE)}
        self.commits = Commits(self.consumer, "kafka")  # type: ignore[arg-type]
        self.listener = Rebalancing(self.consumer, self.partitions, self.commits, self.offered.append)  # type: ignore[arg-type]
        self.fetch(0, fetched)

    @property
    def partition(self) -> Partition:
        return self.partitions[PLACE]

    @property
    def offsets(self) -> list[int]:
        return [record.offset for record in self.partition.records]

    def fetch(self, start: int, stop: int) -> None:
        self.partition.add(
            ConsumerRecord("orders", 0, number, 0, 0, None, b"", None, 0, 0, ()) for number in range(start, stop)
        )

    def handle(self) -> None:
        self.partition.handling = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        self.commits.add(PLACE, self.partition.end())
        self.partition.free()


async def test_what_has_its_end_is_committed_before_a_partition_is_given_up() -> None:
    group = Group(2)
    group.handle()
    revoking = asyncio.create_task(group.listener.on_partitions_revoked([PLACE]))
    await asyncio.sleep(0)
    assert not group.partition.has_next
    group.end()
    await revoking
    assert group.consumer.commits == [{PLACE: 1}]
    assert not group.listener.unsettled


async def test_a_commit_that_came_too_late_is_sent_again_when_the_partition_comes_back() -> None:
    group = Group(3)
    group.handle()
    group.end()
    group.consumer.takes = False
    await group.listener.on_partitions_revoked([PLACE])
    assert group.listener.unsettled == {PLACE}
    group.consumer.takes = True
    await group.listener.on_partitions_assigned([PLACE])
    await group.commits.flush(1.0)
    assert group.consumer.commits == [{PLACE: 1}]
    group.fetch(0, 3)  # what was not committed then is fetched once more, and not handled once more
    assert group.offsets == [1, 2]


async def test_a_partition_that_others_had_meanwhile_goes_on_where_they_were() -> None:
    group = Group(5)
    group.handle()
    group.end()
    group.consumer.takes = False
    await group.listener.on_partitions_revoked([PLACE])
    group.consumer.takes, group.consumer.offset = True, 4
    await group.listener.on_partitions_assigned([PLACE])
    await group.commits.flush(1.0)
    assert group.consumer.commits == []
    group.fetch(4, 6)
    assert group.offsets == [4, 5]
    assert group.partition.has_next


async def test_what_is_handled_while_a_group_is_shared_anew_is_not_handled_twice_when_it_stays(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr("hrpc_kafka.rebalancing.PATIENCE", 0.01)
    group = Group(3)
    group.handle()
    await group.listener.on_partitions_revoked([PLACE])
    assert group.partition.owner is Ownership.LEFT
    group.fetch(0, 3)
    await group.listener.on_partitions_assigned([PLACE])
    assert group.partition.owner is Ownership.OURS
    assert not group.partition.has_next
    group.end()
    assert group.offsets == [1, 2]
    assert group.partition.has_next


async def test_a_message_that_waits_for_its_retry_keeps_its_attempt_when_its_partition_stays() -> None:
    group = Group(2)
    group.partition.attempt = 3
    group.partition.waiting = asyncio.get_running_loop().call_later(3600, lambda: None)
    await group.listener.on_partitions_revoked([PLACE])
    await group.listener.on_partitions_assigned([PLACE])
    assert (group.partition.attempt, group.offsets) == (3, [0])
    assert not group.partition.has_next
    group.partition.forget()


async def test_a_partition_that_does_not_come_back_is_forgotten() -> None:
    group = Group(2)
    waiting = group.partition.waiting = asyncio.get_running_loop().call_later(3600, lambda: None)
    await group.listener.on_partitions_revoked([PLACE])
    await group.listener.on_partitions_assigned([])
    assert group.partitions == {}
    assert waiting.cancelled()


async def test_a_topic_that_was_created_again_is_consumed_from_its_new_beginning() -> None:
    group = Group(2)
    for _ in range(2):
        group.handle()
        group.end()
    group.fetch(0, 2)
    assert group.offsets == [0, 1]
