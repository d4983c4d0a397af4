"""The first answer of an agent, for which a start waits."""

from __future__ import annotations

import asyncio

from hrpc.consul.refusal import is_outage
from hrpc.consul.tls import tls_fault
from hrpc.consul.transport import Transport
from hrpc.errors import ConsulError, ConsulRefused, ConsulUnreachable
from hrpc.option import Consul


async def arrived(consul: Consul, transport: Transport, limit: float | None) -> None:
    """Returns when the agent answers for the datacenter, namespace and partition that are asked for.

    `limit`: seconds, after which it has to; None for those of a request. Raises `ConsulError`.
    """
    try:
        async with asyncio.timeout(limit):
            await _answered(transport, consul.timeout if limit is None else limit)
            if consul.datacenter or consul.namespace or consul.partition:
                # An agent takes one that does not exist until it is asked for something there.
                place = {"dc": consul.datacenter} if consul.datacenter else None
                await transport.request("GET", "/v1/catalog/services", place)
    except TimeoutError:
        raise ConsulUnreachable(f"no answer from Consul at {transport.address} within {limit:g} s") from None


async def _answered(transport: Transport, limit: float) -> None:
    """Waits until the agent answers and has found its servers, at most `limit` seconds: both may be starting as we are.

    Raises `ConsulUnreachable`, which says for how long it was tried, or `ConsulRefused`.
    """
    pause = 0.05
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while True:
        try:
            response = await transport.request("GET", "/v1/status/leader")
            if response.body.strip() == '""':
                leaderless = f"the servers behind Consul at {transport.address} have no leader"
                raise ConsulRefused(f"{leaderless}: see that more than half of them run", 500)  # as other paths answer
        except ConsulError as error:
            if not is_outage(error) or tls_fault(error.__cause__) is not None:
                raise  # waiting mends no certificate
            tried = loop.time() - begun
            if tried + pause > limit:
                if isinstance(error, ConsulRefused):
                    raise
                raise ConsulUnreachable(
                    f"{error} (tried for {tried:.1f} s); start Consul there, or change Consul(address=…) or "
                    "CONFIGS_ADDR"
                ) from error.__cause__
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)
        else:
            return
