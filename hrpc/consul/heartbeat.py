"""Telling the agent of a TTL check that the service is well (https://developer.hashicorp.com/consul/api-docs/agent/check).

For as long as the event loop runs: one that hangs says nothing, and its instance turns critical.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from loguru import logger

from hrpc.abc import Registration
from hrpc.consul import entry
from hrpc.consul.transport import Transport
from hrpc.consul.watch import backoff
from hrpc.errors import ConsulError, ConsulRefused, ConsulUnreachable


async def beat(transport: Transport, registration: Registration, put_again: Callable[[], Awaitable[None]]) -> None:
    """Says so at the interval of the check, or earlier, until cancelled; `put_again` mends a check that is missing."""
    failures = 0
    while True:
        try:
            if await _pass(transport, registration):
                failures = 0
                await asyncio.sleep(registration.check.interval * random.uniform(0.8, 1.0))
                continue
            await put_again()
        except ConsulUnreachable:
            pass  # whoever keeps the entry tells
        except ConsulError as error:
            if not failures:
                logger.error("registration: {!r} cannot tell Consul that it is well: {}", registration.name, error)
        await asyncio.sleep(backoff(failures))
        failures += 1


async def _pass(transport: Transport, registration: Registration) -> bool:
    """Whether the agent has the check that was told to pass."""
    try:
        # Of three in the time of the check, one that hangs must not take the place of the others.
        async with asyncio.timeout(registration.check.interval):
            response = await transport.request("PUT", f"/v1/agent/check/pass/{entry.check_id(registration)}")
    except TimeoutError:
        raise ConsulUnreachable(f"no answer from Consul at {transport.address}") from None
    except ConsulRefused as error:
        # An agent has no code for it: 500 with these texts in Consul 1.8, 404 in later versions.
        if "associated TTL" in str(error) or "nknown check" in str(error):
            return False
        raise
    return bool(response.code != 404)
