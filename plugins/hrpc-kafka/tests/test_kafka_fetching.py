"""How much is fetched of a partition whose messages are handled slowly, with a consumer that does as it is told."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

import hrpc_kafka as kafka
from hrpc_kafka.consuming import Deliveries

PLACE = TopicPartition("orders", 0)


class Consumer:
    """Knows of which partitions no more is fetched."""

    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    def pause(self, place: TopicPartition) -> None:
        self.paused.add(place)

    def resume(self, place: TopicPartition) -> None:
        self.paused.remove(place)


async def test_no_more_is_fetched_of_a_partition_with_a_thousand_messages_until_few_are_left() -> None:
    consumer: Any = Consumer()
    settings = kafka.new(brokers="127.0.0.1").read(None)
    deliveries = Deliveries(settings, kafka.consume("orders", print, group="g"), consumer, None)  # type: ignore[arg-type]
    for start in (0, 500):
        assert not consumer.paused
        deliveries._take(
            PLACE,
            [
                ConsumerRecord("orders", 0, offset, 0, 0, None, b"", None, 0, 0, ())
                for offset in range(start, start + 500)
            ],
        )
    assert consumer.paused == {PLACE}
    for left in range(1000, 100, -1):
        assert consumer.paused, left
        await (await anext(deliveries)).done()
    assert not consumer.paused
    assert len(deliveries.partitions[PLACE].records) == 100
