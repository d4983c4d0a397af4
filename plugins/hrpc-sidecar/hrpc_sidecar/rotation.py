"""A service that is out of rotation for a while."""

from __future__ import annotations

import asyncio

from hrpc_sidecar.client import ApiClient
from hrpc_sidecar.node import ServiceNode


class RotatingClient(ApiClient):
    """The requests of a service that may be out of rotation: while it is, each registration is drained at once.

    The agent has no request for a maintenance, but a drain is one that a registration ends.
    """

    def __init__(self, base_url: str, timeout: float, grace_period: float) -> None:
        """`grace_period`: what the drain says, in seconds."""
        super().__init__(base_url, timeout)
        self._grace_period = grace_period
        self._is_out = False
        # A registration that is under way may be about to be drained, for a reason that is over meanwhile.
        self._one_at_a_time = asyncio.Lock()

    async def register(self, node: ServiceNode) -> None:
        """``POST /register``, and ``POST /drain`` when it is out of rotation."""
        async with self._one_at_a_time:
            await self._register(node)

    async def rotate(self, node: ServiceNode, *, out: bool) -> None:
        """Takes the service out, or back in; also what is registered from now on. Raises `SidecarApiError`."""
        self._is_out = out
        async with self._one_at_a_time:
            if out:
                await self.drain(node, self._grace_period)
            else:
                await self._register(node)

    async def _register(self, node: ServiceNode) -> None:
        await super().register(node)
        if self._is_out:
            await self.drain(node, self._grace_period)
