"""The option for metrics."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from hrpc.errors import OptionError
from hrpc.option import checks
from hrpc.option.settings import DEFAULT_METRICS_PORT, Option

BUCKETS_AT_MOST = 100
"""Buckets of a histogram: each is a time series for every method."""


def with_metrics(port: int = DEFAULT_METRICS_PORT, *, buckets: Iterable[float] | None = None) -> Option:
    """Answer ``/metrics`` in Prometheus' format over HTTP on `port`.

    `buckets` are the upper bounds, in seconds and ascending, of the histogram of how long calls take; 0.005 to 10 when
    not given. There is always one more, without an upper bound. Raises `OptionError`.
    """
    option = "hrpc.with_metrics"
    changes: dict[str, object] = {"metrics_port": checks.port(option, port)}
    if buckets is not None:
        changes["metrics_buckets"] = checked_buckets(option, buckets)
    return Option("with_metrics", changes)


def checked_buckets(option: str, buckets: Iterable[float]) -> tuple[float, ...]:
    """Upper bounds in seconds as floats. Raises `OptionError`."""
    bounds = tuple(buckets) if isinstance(buckets, Iterable) else ()
    numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
    if not numbers or not 1 <= len(bounds) <= BUCKETS_AT_MOST:
        raise OptionError(
            f"{option}(buckets={buckets!r}): takes 1 to {BUCKETS_AT_MOST} upper bounds, such as (0.01, 0.1, 1)"
        )
    for lower, upper in zip((0.0, *bounds), bounds, strict=False):
        if not lower < upper <= sys.float_info.max:
            raise OptionError(
                f"{option}(buckets=…): {upper!r} after {lower!r}: takes finite numbers above 0, each above the one "
                "before it; the bucket without an upper bound is there by itself"
            )
    return tuple(map(float, bounds))
