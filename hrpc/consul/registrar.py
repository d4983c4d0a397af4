"""Keeping a service in its agent's list, whatever happens to the agent.

The entry is compared with what the agent has by a hash-based blocking query
(https://developer.hashicorp.com/consul/api-docs/agent/service#get-local-service-configuration), which ends within
milliseconds of a change. Its check is looked at whenever that query ends, at the interval of the check or earlier: a
change of a check ends no query. Missing or different: it is put back, for as long as the service runs, without a last
try.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from consul import base
from loguru import logger

from hrpc.abc import Registration, RegistrationReport, endpoint
from hrpc.consul import entry
from hrpc.consul.heartbeat import beat
from hrpc.consul.maintenance import Maintenance
from hrpc.consul.transport import Transport
from hrpc.consul.watch import LONGEST_WAIT, backoff
from hrpc.errors import ConsulError, ConsulUnreachable

_NEVER_THERE_LIMIT = 1.0
"""Seconds that a stop tries to take out an entry that Consul has never confirmed."""
_SHORTEST_ROUND = 0.02
"""Seconds between two looks at the entry, for an agent that does not wait."""
_NO_CHECK = "has lost its check in Consul"


class Registrar:
    """Registers a service at the agent behind `transport`."""

    def __init__(
        self,
        transport: Transport,
        api: base.Consul,
        bears: Callable[[ConsulError], bool] = lambda error: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`bears` says whether a start goes on after an error; the entry then comes as soon as Consul takes it.

        `clock` gives seconds, for the report.
        """
        self._transport = transport
        self._api = api
        self._clock = clock
        self.present = False
        self._registration: Registration | None = None
        self._missing_since = 0.0
        self._put_at: float | None = None
        self._puts_again = 0
        self._error: ConsulError | None = None
        self._maintenance = Maintenance(transport)
        self._bears = bears
        self._was_present = False
        self._tokens = self._token_of_entry = 0
        self._writing = asyncio.Lock()
        transport.current_token.on_change(self._token_changed)

    def _token_changed(self) -> None:
        # The agent keeps the entry at its servers with the token that it was registered with. The keeper's query ends
        # at the same moment.
        self._tokens += 1

    def report(self) -> RegistrationReport | None:
        """How the registration stands; None while nothing is registered."""
        if self._registration is None:
            return None
        now = self._clock()
        return RegistrationReport(
            registration=self._registration,
            present=self.present,
            missing_for=None if self.present else now - self._missing_since,
            error=None if self._error is None else str(self._error),
            put_ago=None if self._put_at is None else now - self._put_at,
            puts_again=self._puts_again,
            maintenance=self._maintenance.reason,
        )

    @asynccontextmanager
    async def registered(self, registration: Registration) -> AsyncIterator[None]:
        """Registers, keeps the entry while the context lasts, and deregisters. Raises `ConsulError`."""
        self._missing_since = self._clock()
        try:
            await self._begin(registration)
        except BaseException:
            # A request that timed out may have been carried out.
            with suppress(ConsulError):
                await self._api.agent.service.deregister(registration.id)
            raise
        self._registration = registration
        try:
            async with asyncio.TaskGroup() as tasks:
                keepers = [tasks.create_task(self._keep(registration), name="hrpc: registration")]
                if registration.check.kind == "ttl":
                    beating = beat(self._transport, registration, lambda: self._put_again(registration, _NO_CHECK))
                    keepers.append(tasks.create_task(beating, name="hrpc: TTL check"))
                try:
                    yield
                finally:
                    for keeper in keepers:
                        keeper.cancel()
        finally:
            # Only now, when the keepers have ended: a PUT of theirs after this one would bring a dead service back.
            self.present, self._registration = False, None
            await self._leave(registration)

    async def _begin(self, registration: Registration) -> None:
        away = ConsulUnreachable(f"no answer from Consul at {self._transport.address}")
        try:
            if not self._transport.reachable and self._bears(away):
                raise away  # to be waited for by the keeper, and not by the start
            await self._put_whole(registration)
        except ConsulError as error:
            if not self._bears(error):
                raise
            logger.warning("registration: {!r} comes when Consul takes it: {}", registration.name, error)
            self._missing(error)
            return
        where = endpoint(registration.address, registration.port)
        logger.info("registered in Consul as {} at {}", registration.id, where)

    async def _leave(self, registration: Registration) -> None:
        if self._was_present:
            await self._api.agent.service.deregister(registration.id)
            return
        try:
            # A request that timed out may have been carried out.
            async with asyncio.timeout(_NEVER_THERE_LIMIT):
                await self._api.agent.service.deregister(registration.id)
        except (ConsulError, TimeoutError):
            logger.warning("registration: {!r} never came to Consul", registration.name)

    async def maintenance(self, reason: str | None) -> None:
        """Takes the service out of rotation, or back in with None, until further notice.

        Raises `ConsulError` when the agent cannot be told now; it is then told as soon as it answers.
        """
        self._maintenance.want(reason)
        if self._registration is not None:
            async with self._writing:
                await self._maintenance.tell(self._registration)

    async def _keep(self, registration: Registration) -> None:
        content: str | None = None
        failures = mended = 0
        while True:
            try:
                content = await self._confirm(registration, content)
            except ConsulError as error:
                self._lost(error, registration)
                content = None
                await asyncio.sleep(backoff(failures))
                failures += 1
            else:
                failures = 0
                # What is put back and is different again, maybe by somebody who does the same, is not fought over.
                mended = mended + 1 if content is None else 0
                await asyncio.sleep(backoff(mended - 1) if mended else _SHORTEST_ROUND)

    async def _confirm(self, registration: Registration, content: str | None) -> str | None:
        """Waits for a change of the entry and mends it; gives the hash to wait on next, None to ask at once."""
        path = f"/v1/agent/service/{registration.id}"
        wait = min(LONGEST_WAIT, max(1.0, registration.check.interval)) if content else 0.0
        params = {"hash": content, "wait": f"{wait:g}s"} if content else None
        response = await self._transport.request("GET", path, params, wait=wait)
        found = None if response.code == 404 else self._transport.json(f"GET {path}", response, dict)
        if found is None:
            self._missing(None)
            await self._put_again(registration, "is missing in Consul")
            return None
        if not found.get("ContentHash"):
            raise self._transport.not_consul(f"GET {path}", response.code)
        try:
            wrong = await self._wrong(registration, found)
        except (TypeError, AttributeError) as error:
            raise self._transport.not_consul(f"GET {path}", response.code) from error
        if wrong is not None:
            await self._put_again(registration, wrong)
            return None
        self._found(registration)
        return str(found["ContentHash"])

    async def _wrong(self, registration: Registration, found: Mapping[str, Any]) -> str | None:
        """What the agent has other than it should; None when nothing. Maintenance is put right on the way."""
        if self._token_of_entry != self._tokens:
            return "is to be renewed with another token"
        if not entry.is_same(found, registration):
            return "was changed in Consul"
        checks = await self._checks(registration)
        check = checks.get(entry.check_id(registration))
        if check is None:
            return _NO_CHECK
        if not entry.is_same_check(check, registration):
            # Registering it over the other one would leave both running, when they are of two kinds.
            await self._api.agent.check.deregister(entry.check_id(registration))
            return "has another check in Consul"
        if self._maintenance.differs(checks, registration):
            async with self._writing:
                await self._maintenance.tell(registration)
        return None

    async def _checks(self, registration: Registration) -> Mapping[str, Any]:
        path = "/v1/agent/checks"
        response = await self._transport.request("GET", path, {"filter": f'ServiceID == "{registration.id}"'})
        checks: dict[str, Any] = self._transport.json(f"GET {path}", response, dict)
        return checks

    async def _put_again(self, registration: Registration, why: str) -> None:
        logger.warning("registration: {!r} {}, registering it again", registration.name, why)
        await self._put_whole(registration)
        self._puts_again += 1

    async def _put_whole(self, registration: Registration) -> None:
        # Cancelled half-way, the agent could still take the request in after the deregistration that follows.
        putting = asyncio.ensure_future(self._put(registration))
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            await asyncio.wait({putting})
            putting.exception()  # what went wrong with it matters no more
            raise

    async def _put(self, registration: Registration) -> None:
        async with self._writing:
            # Not passing for a moment while it is out of rotation. Checks of others at this entry, as that of an
            # operator who takes it out, are left alone: the ID is new, so none of them is left over from another life.
            status = "passing" if self._maintenance.reason is None else "critical"
            data = json.dumps(entry.body(registration, status))
            token = self._tokens  # that it is sent with: another one may come before the answer
            await self._transport.request("PUT", "/v1/agent/service/register", data=data)
            self._put_at, self._token_of_entry = self._clock(), token
            if self._maintenance.reason is not None:
                await self._maintenance.tell(registration)
        self._found(registration)

    def _found(self, registration: Registration) -> None:
        if self._error is not None:
            logger.info("registration: {!r} is in Consul again", registration.name)
        self.present, self._was_present, self._error = True, True, None

    def _lost(self, error: ConsulError, registration: Registration) -> None:
        if self._error is None:
            logger.error("registration: {!r} may be missing in Consul: {}", registration.name, error)
        self._missing(error)

    def _missing(self, error: ConsulError | None) -> None:
        if self.present:
            self._missing_since = self._clock()
        self.present, self._error = False, error or self._error
