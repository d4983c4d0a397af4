"""The plugin: a lease for the time of a life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger

import hrpc.plugin
from hrpc import _runtime, configs
from hrpc.errors import ConsulError, OptionError
from hrpc_uniqueid.lease import Lease
from hrpc_uniqueid.leases import Leases

SHORTEST, LONGEST = 10.0, 60.0
"""Seconds: the shortest TTL of a session that Consul takes, and its longest lock delay, which is to be as long."""
_GIVE_BACK_LIMIT = 3.0


class UniqueID(hrpc.plugin.Plugin):
    """Leases a node id for the ids of `hrpc.uniqueid`; each worker has one of its own. See `with_leased_node_id`."""

    name = "hrpc-uniqueid"

    def __init__(self, ttl: float = 30.0) -> None:
        """`ttl`: seconds. Raises `OptionError`."""
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not SHORTEST <= ttl <= LONGEST:
            raise OptionError(f"hrpc_uniqueid.UniqueID(ttl={ttl!r}): takes {SHORTEST:g} to {LONGEST:g} seconds")
        self._ttl = float(ttl)
        self._slot = _runtime.Slot[Lease](self.name, "hrpc_uniqueid.with_leased_node_id()")
        self.health_checks = {"unique ids": self._check}

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Leases a node id, and renews the lease while the context lasts. Raises `ConsulError` or `UniqueIdError`."""
        from hrpc import consul  # with what takes a tenth of a second to import, for those who have it

        runtime = _runtime.current()
        assert runtime is not None
        client = consul.get()
        leases = Leases(client.sessions, configs.slot.get().path("uniqueid"), self._ttl)
        lease = Lease(leases, runtime.server_name, runtime.worker)
        try:
            await lease.take()
        except ConsulError as error:
            if not client.patient:
                raise
            logger.warning("unique ids: there are none until Consul leases a node id: {}", error)
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(lease.keep(), name="hrpc: lease of a node id")
            try:
                with runtime.provide(self._slot, lease), _runtime.process_ids.giving(lease.generator):
                    yield
            finally:
                keeping.cancel()
                await asyncio.wait({keeping})
                await self._give_back(lease)

    async def _give_back(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(_GIVE_BACK_LIMIT):
                await lease.give_back()
        except (ConsulError, TimeoutError) as error:
            logger.warning("unique ids: the node id was not given back, its lease runs out by itself: {}", error)

    async def _check(self) -> None:
        self._slot.get().check()


def with_leased_node_id(*, ttl: float = 30.0) -> hrpc.Option:
    """Leases the node id of `hrpc.uniqueid` in Consul, so that no two instances or workers ever have the same.

    `ttl`, 10 to 60 seconds: a lease is renewed three times in that time, and ends after it. So long ids are made while
    Consul is away, and so long the very first start in an environment waits. It is to be the same for all services of
    an environment. While no node id is leased, `next_id` raises `errors.UniqueIdError` and readiness fails.

    Needs `hrpc.with_consul`. Raises `OptionError`.
    """
    return hrpc.plugin.option("hrpc_uniqueid.with_leased_node_id", UniqueID(ttl))
