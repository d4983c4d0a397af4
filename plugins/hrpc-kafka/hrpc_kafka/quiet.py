"""What aiokafka logs while brokers are away: the same lines, many times in a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY = 30.0
"""Seconds after which a line is written again."""
_REMEMBERED = 1000
_LOGGERS = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.sender",
)


@contextmanager
def repetitions() -> Iterator[None]:
    """Keeps repetitions of warnings and errors out of the log, for as long as the context lasts."""
    seldom = _Seldom()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(seldom)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(seldom)


class _Seldom(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._written: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        line, now = record.getMessage(), time.monotonic()
        if now - self._written.get(line, -EVERY) < EVERY:
            return False
        if len(self._written) >= _REMEMBERED:
            self._written.clear()
        self._written[line] = now
        return True
