"""What a balancer asks of a picker."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from hrpc.service.balancing.endpoint import Endpoint


class Picker(Protocol):
    """Takes one endpoint for each call, of those whose `Endpoint.share` is above 0."""

    def replace(self, endpoints: Collection[Endpoint]) -> None:
        """Picks from these from now on: from all that are known, by their shares. At least one has a share."""

    def next(self, key: str | None) -> Endpoint:
        """The endpoint for a call; `key` is what a consistent hash is made of."""

    def first(self, key: str | None, fits: Callable[[Endpoint], bool]) -> Endpoint | None:
        """The same, of those that fit; None when none does. May take longer."""

    def measured(self, endpoint: Endpoint, seconds: float, failed: bool) -> None:
        """A call of this endpoint has taken so long. Only told when the picker `is_timed`."""

    @property
    def is_timed(self) -> bool:
        """Whether it wants to know how long calls take."""
