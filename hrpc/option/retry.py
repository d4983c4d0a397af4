"""When a call to another service is made again: the values that `hrpc.option.retries` makes."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


def covers(methods: Collection[str], path: str) -> bool:
    """Whether ``/package.Service/Method``, or its service, is among `methods`."""
    method = path.removeprefix("/")
    return method in methods or method.partition("/")[0] in methods


class RetrySettings(NamedTuple):
    """See `with_retry`. `attempts` counts the first one as well; `budget` is a share of the calls."""

    attempts: int = 3
    idempotent: frozenset[str] = frozenset()
    budget: float = 0.2


class HedgingSettings(NamedTuple):
    """See `with_hedging`. `delay` is in seconds; `attempts` counts the first one as well."""

    methods: frozenset[str] = frozenset()
    delay: float = 0.05
    attempts: int = 2
