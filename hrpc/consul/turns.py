"""The connections that watches hold to one agent, which takes only so many of one address.

https://developer.hashicorp.com/consul/docs/agent/config/config-files#http_max_conns_per_client: 200 when nothing else
is set, for all processes of a host together. A connection beyond is cut off, be it that of a registration.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from loguru import logger

from hrpc.consul.transport import Transport
from hrpc.errors import ConsulError

FEW = 20
"""Connections that are held without asking the agent how many it takes."""

UNKNOWN = 100
"""Connections that are held when it does not tell: half of what it takes when nothing else is set."""

SHARE = 0.75
"""The part of what the agent takes that watches hold; the rest is for other requests and other processes."""

FIRSTS = 32
"""Watches that ask for the first time at once; their answers come without waiting for a change."""

TURN = 2.0
"""Seconds for which a watch waits for a change while others wait for their turn."""


class Turns:
    """Lets watches ask; when there are more than the agent takes connections, one after the other."""

    def __init__(self, transport: Transport, watches: Callable[[], int]) -> None:
        self._transport = transport
        self._watches = watches
        self._most = FEW
        self._free = asyncio.Semaphore(FEW)
        self._firsts = asyncio.Semaphore(FIRSTS)
        self._asked = False

    @asynccontextmanager
    async def turn(self, index: int | None, wait: float) -> AsyncIterator[float]:
        """Waits for a connection, and gives how long to wait for a change on it, at most `wait` seconds."""
        if index is None:
            async with self._firsts:
                yield wait
            return
        if not self._asked and self._watches() > FEW:
            self._asked = True
            await self._ask()
        async with self._free:
            yield wait if self._watches() <= self._most else min(wait, TURN)

    async def _ask(self) -> None:
        most = await self._taken_by_agent()
        for _ in range(most - self._most):
            self._free.release()
        self._most = max(most, self._most)
        if self._watches() > self._most:
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
        except (ConsulError, KeyError, TypeError):
            return UNKNOWN
        # Without a limit of the agent's, more than a process has files for.
        return int(taken * SHARE) if isinstance(taken, int) and taken > 0 else 100_000
