"""What is asked of Consul: each query once, by a client that follows the answers or by a thread that waits for one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from consul import base

from hrpc.abc import Instance, Selection
from hrpc.consul.instances import InstancesQuery, in_each_datacenter, refuse_leaderless
from hrpc.consul.transport import Transport
from hrpc.errors import ConsulError, ConsulUnreachable
from hrpc.option import Consul

T = TypeVar("T")

FETCH_LIMIT = 3.0
"""Seconds that a thread waits for an answer."""


class Api(base.Consul):  # type: ignore[misc]
    """python-consul2's API on our transport."""

    # The original's __init__ is left out: it lets CONSUL_HTTP_* win over what was given, and opens its own transport.
    def __init__(self, transport: Transport, datacenter: str | None) -> None:
        self.http = transport
        self.token = None
        self.dc = datacenter
        self.consistency = "default"
        self.agent = base.Consul.Agent(self)
        self.catalog = base.Consul.Catalog(self)
        self.health = base.Consul.Health(self)
        self.kv = base.Consul.KV(self)


class Queries:
    """The queries through one transport. With an `index`, Consul answers after a change or `wait` seconds."""

    def __init__(self, consul: Consul, transport: Transport) -> None:
        self.api = Api(transport, consul.datacenter)
        self._datacenter = consul.datacenter
        self._transport = transport

    async def key(self, key: str, index: int | None = None, wait: float = 0.0) -> tuple[int, bytes | None]:
        """The value of a key, None when there is none, and its index."""
        newest, entry = await self.api.kv.get(key, index=index, wait=f"{wait:g}s" if index else None)
        try:
            # Consul tells an empty value as null.
            return int(newest or 0), None if entry is None else cast(bytes, entry["Value"] or b"")
        except (ValueError, KeyError, TypeError) as error:
            raise self._transport.not_consul(f"GET /v1/kv/{key}", 200) from error

    async def instances(self, selection: Selection) -> tuple[Instance, ...]:
        """The instances that pass their checks, in the first datacenter of the selection that has any."""
        failed: ConsulError | None = None
        for one in in_each_datacenter(selection):
            try:
                _, found = await self.following(one)(None, 0.0)
            except ConsulError as error:
                failed = failed or error
            else:
                if found:
                    return found
        if failed is not None:
            raise failed
        return ()

    def following(self, selection: Selection) -> InstancesQuery:
        """The query to follow a selection with, in one datacenter at most."""
        return InstancesQuery(self._transport, selection, self._datacenter)

    async def services(self) -> dict[str, tuple[str, ...]]:
        """The names of all services, with all tags that instances of theirs have."""
        path = "/v1/catalog/services"
        params = [("stale", "")] + ([("dc", self._datacenter)] if self._datacenter else [])
        response = await self._transport.request("GET", path, params)
        refuse_leaderless(self._transport, response)
        found = self._transport.json(f"GET {path}", response, dict)
        try:
            return {name: tuple(tags) for name, tags in found.items()}
        except TypeError as error:
            raise self._transport.not_consul(f"GET {path}", response.code) from error


def fetch(through: Transport, ask: Callable[[Queries], Awaitable[T]]) -> T:
    """Asks the same agent once and blocks the calling thread until the answer. Raises `ConsulError`."""
    # A loop of its own, since the caller may stand in the one that the client runs in, and has to wait for the answer.
    result: list[T] = []
    errors: list[BaseException] = []

    async def ask_once() -> T:
        consul = through.consul
        async with Transport(consul, through.token) as transport, asyncio.timeout(FETCH_LIMIT):
            return await ask(Queries(consul, transport))

    def run() -> None:
        try:
            result.append(asyncio.run(ask_once()))
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name="hrpc-fetch", daemon=True)
    thread.start()
    thread.join()
    if not errors:
        return result[0]
    if isinstance(errors[0], TimeoutError):
        raise ConsulUnreachable(f"no answer from Consul at {through.address} within {FETCH_LIMIT:g} s") from errors[0]
    raise errors[0]
