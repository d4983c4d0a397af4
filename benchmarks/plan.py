"""How thoroughly to measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """The length of a run. Quick is for seeing that all works: its figures are noise."""

    folder: Path
    """Where requests and the output of servers go."""
    rounds: int = 5
    seconds: float = 2.0
    """Of load on one server in one round."""
    loops: int = 100_000
    """Calls in a hot loop."""
    pieces: int = 40
    """Rounds of the pieces, which are short: what they cost is near the noise."""
    starts: int = 9
    """How often each program is started."""
    calls_of_many: int = 20_000
    """Calls over 1,000 connections."""
    memory_calls: tuple[int, int] = (100_000, 1_000_000)
    names: int = 1000
    """How many services are followed at once."""
    idle: float = 120.0
    """Seconds in which nothing happens: twice the time for which Consul holds a query, and more."""
    changes: int = 300
    returns: int = 10
    """How often the agent is lost and comes back."""

    @classmethod
    def quick(cls, folder: Path) -> Plan:
        """In about four minutes."""
        return cls(
            folder,
            rounds=2,
            seconds=0.3,
            loops=20_000,
            pieces=3,
            starts=3,
            calls_of_many=3_000,
            memory_calls=(2_000, 10_000),
            names=50,
            idle=2.0,
            changes=20,
            returns=1,
        )
