"""The connections that watches hold to one agent, which takes only so many of one address.

https://developer.hashicorp.com/consul/docs/agent/config/config-files#http_max_conns_per_client: 200 when nothing else
is set, for all processes of a host together. A connection beyond is cut off, be it that of a registration.
"""

from __future__ import annotations

import asyncio
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

Query = Callable[[int | None, float], Awaitable[tuple[int, T]]]


class Turns:
    """Lets watches ask; when there are more than the agent takes connections, one after the other."""

    def __init__(self, transport: Transport, watches: Callable[[], int]) -> None:
        self._transport = transport
        self._watches = watches
        self._most = FEW
        self._free = asyncio.Semaphore(FEW)
        self._firsts = asyncio.Semaphore(FIRSTS)
        self._asked = False
        self._knows = False
        self._told = False
        self._long: dict[asyncio.Timeout, None] = {}
        """The queries that may be held for longer than a turn, from the oldest on."""

    async def ask(self, query: Query[T], index: int | None, wait: float) -> tuple[int, T]:
        """The answer to `query`, once there is a connection for it; it may wait for less than `wait` seconds."""
        if index is None:
            async with self._firsts:
                return await query(None, wait)
        if not self._asked and self._watches() > FEW:
            await self._ask()
        if self._free.locked():
            self._end_a_long_one()
        while True:
            async with self._free:
                turn = self._turn()
                if wait <= turn:
                    return await query(index, wait)
                if self._watches() > self._most:
                    return await query(index, turn)
                answer = await self._unless_ended(query(index, wait))
            if answer is not None:
                return answer

    def _turn(self) -> float:
        return min(TURN, max(SHORTEST_TURN, CYCLE * self._most / max(1, self._watches())))

    async def _unless_ended(self, asking: Awaitable[tuple[int, T]]) -> tuple[int, T] | None:
        """None when another watch has taken the connection."""
        try:
            async with asyncio.timeout(None) as held:
                self._long[held] = None
                try:
                    return await asking
                finally:
                    self._long.pop(held, None)
        except TimeoutError:
            if not held.expired():
                raise
            return None

    def _end_a_long_one(self) -> None:
        """It began when there were connections for all, and would keep this one for the rest of its wait."""
        self._tell()
        if self._long:
            oldest = next(iter(self._long))
            del self._long[oldest]
            oldest.reschedule(0)

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
        if self._told or not self._knows or self._watches() <= self._most:
            return
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
