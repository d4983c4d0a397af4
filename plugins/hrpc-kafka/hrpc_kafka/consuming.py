"""Consuming: what is fetched goes to its partition, from there to the handlers, and is committed at its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from loguru import logger

from hrpc.queues import Delivery, QueueError, Subscription
from hrpc_kafka import errors
from hrpc_kafka.commits import Commits
from hrpc_kafka.delivery import Delivered
from hrpc_kafka.lag import measured
from hrpc_kafka.partition import Partition, Record
from hrpc_kafka.producing import Kafka
from hrpc_kafka.rebalancing import Rebalancing
from hrpc_kafka.settings import KafkaSettings

_AT_ONCE, _ENOUGH, _FEW = 500, 1000, 100
"""Records that are taken over at once; how many a partition has when no more are fetched for it, and how few until
they are again."""
_IDLE = 60.0
"""Seconds after which fetching is looked after, when nothing comes."""
_STOP_LIMIT = 3.0
"""Seconds to commit, and then to leave the group."""
_ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}


@asynccontextmanager
async def consuming(
    name: str, settings: KafkaSettings, client_id: str, subscription: Subscription, client: Kafka
) -> AsyncIterator[AsyncIterator[Delivery]]:
    """Joins the group and fetches; at the end commits what has its end, and leaves the group at once, so that others go
    on. `client` sends dead letters. Raises `QueueUnavailable` and `QueueRefused`."""
    consumer = _consumer(settings, client_id, subscription)
    deliveries = Deliveries(settings, subscription, consumer, client)
    consumer.subscribe(subscription.topics, listener=deliveries.rebalancing)
    try:
        try:
            await _look_for_topics(settings, subscription, client)
            await consumer.start()
        except (KafkaError, TimeoutError, OSError) as error:
            raise errors.told(settings, f"cannot consume {subscription.name}", error) from error
        async with deliveries.fetched(), measured(name, subscription, consumer, deliveries.partitions):
            yield deliveries
    finally:
        deliveries.rebalancing.close()
        await _stopped(consumer, f"{settings.place}: {subscription.name}")


async def _look_for_topics(settings: KafkaSettings, subscription: Subscription, client: Kafka) -> None:
    """The consumer would wait for a topic that is not there for as long as it waits for its group."""
    for topic in subscription.topics:
        try:
            async with asyncio.timeout(settings.connect_timeout):
                await client.producer.partitions_for(topic)
        except TimeoutError:
            raise UnknownTopicOrPartitionError(topic) from None


def _consumer(settings: KafkaSettings, client_id: str, subscription: Subscription) -> AIOKafkaConsumer[bytes, bytes]:
    session = round(settings.session_timeout * 1000)
    return AIOKafkaConsumer(
        **settings.connection(client_id),
        group_id=subscription.group,
        enable_auto_commit=False,
        auto_offset_reset=getattr(subscription, "start", "earliest"),
        isolation_level="read_committed",
        session_timeout_ms=session,
        heartbeat_interval_ms=session // 3,
        rebalance_timeout_ms=max(session, 30_000),
        request_timeout_ms=max(session, 40_000),
        # One only: with several, aiokafka 0.14 joins the group once for each of them.
        partition_assignment_strategy=(_ASSIGNORS[settings.assignment],),
    )


async def _stopped(consumer: AIOKafkaConsumer[bytes, bytes], place: str) -> None:
    try:
        async with asyncio.timeout(_STOP_LIMIT):
            await consumer.stop()
        return
    except TimeoutError:
        # It was waiting for brokers that are away, or for a group that does not come together.
        logger.warning("{}: left without a word, the group notices after session_timeout", place)
    except KafkaError as error:
        logger.warning("{}: the end was not clean: {}", place, error)
    await _cut_off(consumer)


async def _cut_off(consumer: AIOKafkaConsumer[bytes, bytes]) -> None:
    """Does what stop() has not come to, in its order; there is no other way in aiokafka to end these tasks."""
    if consumer._coordinator is not None:
        await consumer._coordinator._stop_heartbeat_task()
        await consumer._coordinator._stop_commit_offsets_refresh_task()
    if consumer._fetcher is not None:
        for task in consumer._fetcher._pending_tasks:
            task.cancel()
        with suppress(KafkaError):
            await consumer._fetcher.close()
    await consumer._client.close()


class Deliveries:
    """Iterating gives the next message that may be handled, of whichever partition."""

    def __init__(
        self,
        settings: KafkaSettings,
        subscription: Subscription,
        consumer: AIOKafkaConsumer[bytes, bytes],
        client: Kafka,
    ) -> None:
        self.settings = settings
        self.subscription = subscription
        self.client = client
        self.partitions: dict[TopicPartition, Partition] = {}
        self.commits = Commits(consumer, f"{settings.place}: {subscription.name}")
        self.rebalancing = Rebalancing(consumer, self.partitions, self.commits, self.offer)
        self._consumer = consumer
        self._line: deque[Partition] = deque()
        self._news = asyncio.Event()
        self._failure: Exception | None = None

    @asynccontextmanager
    async def fetched(self) -> AsyncIterator[None]:
        """Fetches and commits while the context lasts."""
        tasks = [asyncio.create_task(self._fetch()), asyncio.create_task(self.commits.run())]
        tasks[1].add_done_callback(partial(self._task_ended, "committing"))
        # getmany() waits on when the task has ended that fetches, and only the log of aiokafka would tell.
        self._consumer._fetcher.error_future.add_done_callback(partial(self._task_ended, "fetching"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for partition in self.partitions.values():
                partition.forget()
            await self.commits.settle(_STOP_LIMIT, lambda: not self.rebalancing.unsettled)

    async def _fetch(self) -> None:
        try:
            while True:
                found = await self._consumer.getmany(timeout_ms=round(_IDLE * 1000), max_records=_AT_ONCE)
                for place, records in found.items():
                    self._take(place, records)
        except KafkaError as error:
            self._failure = errors.told(self.settings, f"consuming {self.subscription.name} has ended", error)
            self._failure.__cause__ = error
        except Exception as error:  # noqa: BLE001 - raised where it is iterated
            self._failure = error
        self._news.set()

    def _task_ended(self, what: str, ended: asyncio.Future[None]) -> None:
        error = None if ended.cancelled() else ended.exception()
        self._failure = QueueError(f"{self.settings.place}: {what} has ended: {error}")
        self._failure.__cause__ = error
        self._news.set()

    def _take(self, place: TopicPartition, records: list[Record]) -> None:
        partition = self.partitions.setdefault(place, Partition(place))
        partition.add(records)
        if len(partition.records) >= _ENOUGH and not partition.is_paused:
            partition.is_paused = True
            self._consumer.pause(place)
        self.offer(partition)

    def offer(self, partition: Partition) -> None:
        """It may have a message to handle."""
        if partition.has_next and not partition.is_offered:
            partition.is_offered = True
            self._line.append(partition)
            self._news.set()

    def ended(self, partition: Partition) -> None:
        """Its first record has its end: the next one may be handled, and committed is the place before that."""
        self.commits.add(partition.place, partition.end())
        if partition.is_paused and len(partition.records) <= _FEW:
            partition.is_paused = False
            if partition.place in self._consumer.assignment():
                self._consumer.resume(partition.place)

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        while True:
            while self._line:
                partition = self._line.popleft()
                partition.is_offered = False
                if partition.has_next:
                    return Delivered(self, partition)
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()
