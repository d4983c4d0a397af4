"""What is measured of messages that are handled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from hrpc import _runtime, metrics
from hrpc._runtime import Slot

_MESSAGES, _SECONDS, _IN_FLIGHT = "queue_messages", "queue_message_seconds", "queue_in_flight"
_LABELS = ("queue", "topic", "group")

Labels = tuple[str, str, str]
"""The message queue, the topic and the group."""


class Measured:
    """The instruments of one life of a server; looked up once, because each message needs them."""

    def __init__(self, runtime: _runtime.Runtime) -> None:
        self._in_flight: Counter[Labels] = Counter()
        metrics.register_counter(
            _MESSAGES,
            "Messages that were handled, by what became of them: done, retry, dead, lost.",
            (*_LABELS, "outcome"),
        )
        metrics.register_histogram(_SECONDS, "Seconds that the handler of a message took.", _LABELS)
        metrics.register_gauge(_IN_FLIGHT, "Messages that are handled now.", _LABELS, workers="sum", read=self._read)
        registered: dict[str, Any] = {**_runtime.early_metrics, **runtime.metrics}
        self._messages, self._seconds = registered[_MESSAGES], registered[_SECONDS]

    def begin(self, labels: Labels) -> None:
        """A handler begins."""
        self._in_flight[labels] += 1

    def handled(self, labels: Labels, seconds: float) -> None:
        """A handler has ended, after so many seconds."""
        self._seconds.observe(seconds, dict(zip(_LABELS, labels, strict=True)))

    def end(self, labels: Labels, outcome: str) -> None:
        """It is known what becomes of the message; of one that was cut off, nothing."""
        self._in_flight[labels] -= 1
        if outcome:
            self._messages.add(1, {"queue": labels[0], "topic": labels[1], "group": labels[2], "outcome": outcome})

    def _read(self) -> Mapping[tuple[str, ...], float]:
        return {labels: float(count) for labels, count in self._in_flight.copy().items()}


_slot: Slot[Measured] = Slot("hrpc.queues", None)


def measured() -> Measured:
    """That of the running server. Registers the metrics when it is asked for the first time."""
    runtime = _runtime.current()
    if runtime is None:
        return _slot.get()
    if _slot not in runtime.values:
        runtime.values[_slot] = Measured(runtime)
    return _slot.get()
