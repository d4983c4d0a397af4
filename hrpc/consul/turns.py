"""The connections that watches hold to one agent, which takes only so many of one address.

https://developer.hashicorp.com/consul/docs/agent/config/config-files#http_max_conns_per_client: 200 when nothing else
is set, for all processes of a host together. A connection beyond is cut off, be it that of a registration.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from loguru import logger

from hrpc.consul.transport import Transport
from hrpc.errors import ConsulError, ConsulUnreachable

T = TypeVar("T")

FEW = 20
"""Connections that are held without asking the agent how many it takes."""

UNKNOWN = 100
"""Connections that are held when it does not tell: half of what it takes when nothing else is set."""

SHARE = 0.75
"""The part of what the agent takes that watches hold; the rest is for other requests and other processes."""

FIRSTS = 32
"""Watches that ask for the first time at once; their answers come without waiting for a change."""

TURN = 2.0
"""Seconds for which a watch waits for a change at most while others wait for their turn."""

CYCLE = 5.0
"""Seconds in which each watch has had its turn, unless `SHORTEST_TURN` makes it longer."""

SHORTEST_TURN = 0.5
"""Seconds that a turn lasts at least, be there ever so many watches: each turn is a request."""

SHORT_WAIT, MOST_REQUESTS = 5.0, 30.0
"""Seconds for which a watch waits at least when more than half of the connections are held, and how many of such waits
may end in a second. An agent counts a connection that its client has left until the wait of its query is over; so those
of a process that ended would be missing to the next one, and those that wait for long to the newest."""

Query = Callable[[int | None, float], Awaitable[tuple[int, T]]]


class Turns:
    """Lets watches ask; when there are more than the agent takes connections, one after the other."""

    def __init__(self, transport: Transport, watches: Callable[[], int]) -> None:
        self._transport = transport
        self._watches = watches
        self._most = FEW
        self._free = asyncio.Semaphore(FEW)
        self._firsts = asyncio.Semaphore(FIRSTS)
        self._asked = self._knows = False
        self._told = False

    async def ask(self, query: Query[T], index: int | None, wait: float) -> tuple[int, T]:
        """The answer to `query`, once there is a connection for it; it may wait for less than `wait` seconds."""
        if index is None:
            async with self._firsts:
                return await query(None, wait)
        if not self._asked and self._watches() > FEW:
            await self._ask()
        if self._knows and not self._told and self._watches() > self._most:
            self._tell()
        async with self._free:
            return await query(index, min(wait, self._longest()))

    def _longest(self) -> float:
        watches = self._watches()
        if watches > self._most:
            return min(TURN, max(SHORTEST_TURN, CYCLE * self._most / watches))
        if watches > max(FEW, self._most / 2):
            return max(SHORT_WAIT, watches / MOST_REQUESTS)
        return math.inf

    async def _ask(self) -> None:
        self._asked = True
        try:
            most = await self._taken_by_agent()
        except ConsulUnreachable:
            self._asked = False
            return
        for _ in range(most - self._most):
            self._free.release()
        self._most = max(most, self._most)
        self._knows = True

    def _tell(self) -> None:
        self._told = True
        logger.warning(
            "{} values are followed in Consul, on {} connections in turn, so that changes are seen later: raise "
            "limits.http_max_conns_per_client in the configuration of the agent at {}, and let the token read the "
            "agent (agent:read)",
            self._watches(),
            self._most,
            self._transport.address,
        )

    async def _taken_by_agent(self) -> int:
        try:
            response = await self._transport.request("GET", "/v1/agent/self")
            known = self._transport.json("GET /v1/agent/self", response, dict)
            taken = known["DebugConfig"]["HTTPMaxConnsPerClient"]
        except ConsulUnreachable:
            raise
        except (ConsulError, KeyError, TypeError):
            return UNKNOWN
        # Without a limit of the agent's, more than a process has files for.
        return int(taken * SHARE) if isinstance(taken, int) and taken > 0 else 100_000
