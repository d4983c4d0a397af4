"""What a balancer knows of one instance."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import grpc

from hrpc.abc import Instance

NEVER = -math.inf


class Endpoint:
    """One instance in one balancer: what pickers read, and what is counted."""

    __slots__ = (
        "connection",
        "ejected_for",
        "ejected_until",
        "ejections",
        "failures",
        "in_flight",
        "in_since",
        "instance",
        "is_connected",
        "key",
        "last_failure",
        "latency",
        "measured_at",
        "picks",
        "probed_at",
        "share",
        "started_at",
        "weight",
        "zone",
    )

    def __init__(self, key: Hashable, instance: Instance, connection: Any) -> None:
        self.key = key
        self.connection = connection
        self.share = 0.0
        """Its weight among those that get calls now; 0 when it gets none."""
        self.picks = 0
        self.in_flight = 0
        self.is_connected = True
        self.latency = 0.0
        """Seconds that its calls take, at `measured_at`; moving, and quick to rise."""
        self.measured_at = NEVER
        self.started_at = NEVER
        """When its slow start began."""
        self.in_since = NEVER
        """When it came back from its last ejection."""
        self.failures = 0
        """How many of its last calls have failed in a row."""
        self.last_failure: grpc.StatusCode | None = None
        self.ejections = 0
        """How many times it was ejected without a longer time of success between."""
        self.ejected_for = 0.0
        self.ejected_until = 0.0
        """Until when it gets no call, and after that only one to try; 0 when it is not ejected."""
        self.probed_at = NEVER
        """When a call was let through to try it."""
        self.describe(instance)

    def describe(self, instance: Instance) -> None:
        """Takes what the registry says of it now."""
        self.instance = instance
        self.weight = instance.weight
        self.zone = instance.zone

    def __repr__(self) -> str:
        return f"<Endpoint {self.instance.endpoint}>"
