"""Keeping a service in its agent's list, whatever happens to the agent.

The entry is compared with what the agent has by a hash-based blocking query
(https://developer.hashicorp.com/consul/api-docs/agent/service#get-local-service-configuration), which ends within
milliseconds of a change. Missing or different: it is put back, for as long as the service runs, without a last try.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from consul import base
from loguru import logger

from hrpc.abc import Check, Registration
from hrpc.consul.transport import Transport
from hrpc.consul.watch import LONGEST_WAIT, backoff
from hrpc.errors import ConsulError


class Registrar:
    """Registers services at the agent behind `transport`."""

    def __init__(self, transport: Transport, api: base.Consul) -> None:
        self._transport = transport
        self._api = api
        self.present = False
        self._renew = False
        transport.on_token_change(self._token_changed)

    def _token_changed(self) -> None:
        # The agent keeps the entry at its servers with the token that it was registered with. The keeper's query ends
        # at the same moment.
        self._renew = True

    @asynccontextmanager
    async def registered(self, registration: Registration) -> AsyncIterator[None]:
        """Registers, keeps the entry while the context lasts, and deregisters. Raises `ConsulError`."""
        try:
            await self._put(registration)
        except BaseException:
            # A request that timed out may have been carried out.
            with suppress(ConsulError):
                await self._api.agent.service.deregister(registration.id)
            raise
        where = f"{registration.address}:{registration.port}"
        logger.info("registered in Consul as {} at {}", registration.id, where)
        try:
            async with asyncio.TaskGroup() as tasks:
                keeper = tasks.create_task(self._keep(registration), name="hrpc: registration")
                try:
                    yield
                finally:
                    keeper.cancel()
        finally:
            # Only now, when the keeper has ended: a PUT of its after this one would bring a dead service back.
            self.present = False
            await self._api.agent.service.deregister(registration.id)

    async def _keep(self, registration: Registration) -> None:
        content: str | None = None
        failures = 0
        while True:
            try:
                content = await self._confirm(registration, content)
            except ConsulError as error:
                if not failures:
                    logger.error("registration: {!r} may be missing in Consul: {}", registration.name, error)
                self.present, content = False, None
                await asyncio.sleep(backoff(failures))
                failures += 1
            else:
                if failures:
                    logger.info("registration: {!r} is in Consul again", registration.name)
                failures = 0

    async def _confirm(self, registration: Registration, content: str | None) -> str | None:
        """Waits for a change of the entry and mends it; gives the hash to wait on next, None to ask at once."""
        path = f"/v1/agent/service/{registration.id}"
        params = {"hash": content, "wait": f"{LONGEST_WAIT:g}s"} if content else None
        response = await self._transport.request("GET", path, params, wait=LONGEST_WAIT if content else 0.0)
        entry = None if response.code == 404 else self._transport.json(f"GET {path}", response, dict)
        if entry is not None and not entry.get("ContentHash"):
            raise self._transport.not_consul(f"GET {path}", response.code)
        if entry is not None and _same(entry, registration) and not self._renew:
            self.present = True
            return str(entry["ContentHash"])
        wrong = "missing in Consul" if entry is None else "changed in Consul"
        why = "to be renewed with another token" if self._renew else wrong
        logger.warning("registration: {!r} is {}, registering it again", registration.name, why)
        await self._put_to_the_end(registration)
        await asyncio.sleep(backoff(0))
        return None

    async def _put_to_the_end(self, registration: Registration) -> None:
        # Cancelled half-way, the agent could still take the request in after the deregistration that follows.
        putting = asyncio.ensure_future(self._put(registration))
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            await asyncio.wait({putting})
            raise

    async def _put(self, registration: Registration) -> None:
        await self._transport.request(
            "PUT",
            "/v1/agent/service/register",
            {"replace-existing-checks": "true"},
            data=json.dumps(_entry(registration)),
        )
        self.present, self._renew = True, False


def _entry(registration: Registration) -> dict[str, Any]:
    return {
        "ID": registration.id,
        "Name": registration.name,
        "Address": registration.address,
        "Port": registration.port,
        "Tags": list(registration.tags),
        "Meta": dict(registration.meta),
        "Weights": {"Passing": registration.weight, "Warning": 1},
        "Check": _check(registration),
    }


def _check(registration: Registration) -> dict[str, Any]:
    check: Check = registration.check
    kinds: dict[str, dict[str, Any]] = {
        "http": {"HTTP": check.target},
        "grpc": {"GRPC": check.target, "GRPCUseTLS": check.tls, "TLSSkipVerify": check.tls},
    }
    return {
        "CheckID": f"service:{registration.id}",
        "Name": f"{registration.name} {check.kind}",
        "Interval": f"{check.interval:g}s",
        "Timeout": f"{check.timeout:g}s",
        "DeregisterCriticalServiceAfter": f"{check.deregister_after:g}s",
        # It is registered when it serves; Consul would call it critical until the first check, up to an interval later.
        "Status": "passing",
        **kinds[check.kind],
    }


def _same(entry: Mapping[str, Any], registration: Registration) -> bool:
    weights = entry.get("Weights") or {}
    return (
        entry.get("Service") == registration.name
        and entry.get("Address") == registration.address
        and entry.get("Port") == registration.port
        and sorted(entry.get("Tags") or ()) == sorted(registration.tags)
        and (entry.get("Meta") or {}) == registration.meta
        and weights.get("Passing") == registration.weight
    )
