"""What aiormq logs when a connection ends: as errors with tracebacks, what `hrpc_rabbitmq.link` tells in a line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def connections() -> Iterator[None]:
    """Keeps it out of the log, for as long as the context lasts."""
    logger = logging.getLogger("aiormq.connection")
    # Each context has a filter of its own, since filters that are the same are added and removed only once.
    told = logging.Filter()
    told.filter = lambda record: record.levelno > logging.ERROR  # type: ignore[method-assign]
    logger.addFilter(told)
    try:
        yield
    finally:
        logger.removeFilter(told)
