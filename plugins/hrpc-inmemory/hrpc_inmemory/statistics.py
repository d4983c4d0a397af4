"""What has happened in a map."""

from __future__ import annotations

from typing import NamedTuple


class Statistics(NamedTuple):
    """Counts since the map was made, and what it holds now."""

    hits: int
    """Reads that found a value."""
    misses: int
    """Reads that found none."""
    stale: int
    """Reads that were given a value whose life was over, while it was loaded anew."""
    loads: int
    """Loaders that were called."""
    failures: int
    """Those that raised, or took too long."""
    evictions: int
    """Entries that were taken out because the map was full."""
    expirations: int
    """Entries that were taken out because their life was over."""
    entries: int
    """Those that are there, with those that are over and not yet taken out."""
    size: int
    """What they weigh; without `weigh` their number."""
