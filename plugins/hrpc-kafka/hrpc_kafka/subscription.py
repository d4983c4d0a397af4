"""What is consumed from Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hrpc.errors import OptionError
from hrpc.queues import Handler, Retry, Subscription

_OPTION = "hrpc_kafka.consume"


@dataclass(frozen=True, slots=True)
class KafkaSubscription(Subscription):
    """What `consume` makes: an `hrpc.queues.Subscription` with what Kafka knows beside."""

    start: Literal["earliest", "latest"] = "earliest"


def consume(
    topics: str | Sequence[str],
    handler: Handler,
    *,
    group: str,
    concurrency: int = 1,
    timeout: float | None = None,
    retry: Retry | None = None,
    dead_letter: str | None = "{topic}.{group}.dead",
    start: Literal["earliest", "latest"] = "earliest",
) -> KafkaSubscription:
    """What to consume, for ``kafka.new``: each message of the topics goes to one consumer of the `group`.

    Messages of one partition are handled one after the other, in their order, which a retry does not change: those
    behind it wait. `concurrency` partitions are worked on at a time, in each process. A message whose handler takes
    longer than `timeout` seconds has failed; one that has failed as often as `retry` says goes to the topic
    `dead_letter`, where ``{topic}`` and ``{group}`` are filled in; None drops it. A group that is new begins at the
    `start` of the topic, or with what comes from now on.

    ::

        kafka.consume("orders", on_order, group="billing", concurrency=8, timeout=30)

    Raises `OptionError`.
    """
    if not isinstance(group, str) or not group:
        raise OptionError(f"{_OPTION}(group={group!r}): takes the name of a consumer group")
    if start not in ("earliest", "latest"):
        raise OptionError(f'{_OPTION}(start={start!r}): takes "earliest" or "latest"')
    return KafkaSubscription(
        (topics,) if isinstance(topics, str) else tuple(topics),
        handler,
        group=group,
        concurrency=concurrency,
        timeout=timeout,
        retry=Retry() if retry is None else retry,
        dead_letter=dead_letter,
        start=start,
    )
