"""One client for all that hrpc asks of Consul."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from hrpc.abc import Instance, Registration, RegistrationReport, Selection, Watched
from hrpc.consul.arrival import arrived
from hrpc.consul.failover import Failover
from hrpc.consul.instances import in_each_datacenter
from hrpc.consul.listing import Listed, listed
from hrpc.consul.offline import Offline
from hrpc.consul.queries import Queries, fetch
from hrpc.consul.registrar import Registrar
from hrpc.consul.sessions import Sessions
from hrpc.consul.snapshot import Snapshot
from hrpc.consul.snapshot.keeper import Key
from hrpc.consul.transport import Transport
from hrpc.consul.turns import Turns
from hrpc.consul.watch import EMPTY_HOLD, Watch
from hrpc.errors import ConsulError, ConsulRefused
from hrpc.option import Consul

T = TypeVar("T")


OFFLINE_AFTER = 1.0
"""Seconds that a start which can go on without Consul waits for it."""


@asynccontextmanager
async def connect(consul: Consul, snapshot: Snapshot | None = None) -> AsyncIterator[Client]:
    """Opens a client, once the agent answers; ends its watches and closes it at the end. Raises `ConsulError`.

    When the agent does not answer, `Consul.fail_fast` and the snapshot decide whether there is a client all the same.
    """
    async with Transport(consul) as transport:
        if snapshot is not None:
            await snapshot.load()
        offline = Offline(consul, transport, snapshot)
        try:
            await arrived(consul, transport, OFFLINE_AFTER if offline.patient else None)
        except ConsulError as error:
            if not offline.bears(error):
                raise
            offline.starts(error)
        try:
            async with asyncio.TaskGroup() as tasks:
                client = Client(consul, transport, tasks, offline)
                beside = [tasks.create_task(transport.current_token.follow(), name="hrpc: token file of Consul")]
                if snapshot is not None:
                    beside.append(tasks.create_task(snapshot.keep(), name="hrpc: snapshot of Consul"))
                try:
                    yield client
                finally:
                    for task in beside:
                        task.cancel()
                    client.end_watches()
        finally:
            if snapshot is not None:
                await snapshot.write()


class Client:
    """Registry, discovery and key-value store in one: the contracts `Registry`, `Discovery` and `KeyValue`."""

    def __init__(self, consul: Consul, transport: Transport, tasks: asyncio.TaskGroup, offline: Offline) -> None:
        self._transport = transport
        self._offline = offline
        self._queries = Queries(consul, transport)
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._watches: dict[Hashable, Watch[Any]] = {}
        self._failovers: dict[Selection, Failover] = {}
        self._running: dict[Hashable, asyncio.Task[None]] = {}
        self._ended = False
        self._turns = Turns(transport, lambda: len(self._watches))
        self._registrar = Registrar(transport, self._queries.api, offline.bears)
        self.sessions = Sessions(transport, consul.datacenter)
        """Sessions, and the keys that are locked by one."""

    @property
    def address(self) -> str:
        """The URL of the agent."""
        return self._transport.address

    @property
    def present(self) -> bool:
        """Whether the agent listed this instance when it was last asked."""
        return self._registrar.present

    def report(self) -> RegistrationReport | None:
        """How the registration stands; None while nothing is registered."""
        return self._registrar.report()

    async def maintenance(self, reason: str | None) -> None:
        """Takes the instance out of rotation, or back in with None; raises `ConsulError`, and goes on trying."""
        await self._registrar.maintenance(reason)

    @property
    def patient(self) -> bool:
        """Whether a start goes on while Consul is away."""
        return self._offline.patient

    @property
    def reachable(self) -> bool:
        """Whether the agent answered when it was last asked."""
        return self._transport.reachable

    @property
    def denied(self) -> int:
        """How many requests Consul has denied to the token."""
        return self._transport.denied

    @property
    def token_known(self) -> bool:
        """Whether Consul knows the token; it does not when it has expired, or was deleted."""
        return not self._transport.token_refused

    @property
    def snapshot_written(self) -> float | None:
        """When the snapshot was last written, in seconds since 1970; None when it has not been in this life."""
        return None if self._offline.snapshot is None else self._offline.snapshot.written

    def snapshot_age(self) -> float | None:
        """Seconds since Consul confirmed the oldest value that is used from the snapshot; None when none is."""
        return max((watch.age() for watch in list(self._watches.values()) if watch.restored), default=None)

    def registered(self, registration: Registration) -> AbstractAsyncContextManager[None]:
        """Registers, keeps the entry while the context lasts, and deregisters. Raises `ConsulError`."""
        return self._registrar.registered(registration)

    def instances(self, selection: Selection) -> Watched[tuple[Instance, ...]]:
        """The passing instances of a selection, followed."""
        if len(selection.datacenters) < 2:
            return self._instances(selection, selection)
        failover = self._failovers.get(selection)
        if failover is None:
            watches = [self._instances((selection, one), one) for one in in_each_datacenter(selection)]
            failover = self._failovers.setdefault(selection, Failover(f"service {selection.name!r}", watches))
        return failover

    def _instances(self, key: Hashable, selection: Selection) -> Watch[tuple[Instance, ...]]:
        where = f" in {selection.datacenters[0]}" if selection.datacenters else ""
        query = self._queries.following(selection)
        return self._watch(key, f"service {selection.name!r}{where}", query, (), EMPTY_HOLD)

    def fetch_instances(self, selection: Selection) -> tuple[Instance, ...]:
        """The passing instances of a selection, asked for now; blocks the thread."""
        followed: Watched[Any] | None = self._failovers.get(selection) or self._watches.get(selection)
        if followed is not None and followed.known:
            return cast("tuple[Instance, ...]", followed.value)
        try:
            with self._transport.requests.traced("GET", f"/v1/health/service/{selection.name}"):
                return fetch(self._transport, lambda queries: queries.instances(selection))
        except ConsulError as error:
            return cast("tuple[Instance, ...]", self._offline.instead(in_each_datacenter(selection), error))

    def release(self, selection: Selection) -> None:
        """Ends the watch of a selection."""
        if self._failovers.pop(selection, None) is None:
            self._end(selection)
        else:
            for one in in_each_datacenter(selection):
                self._end((selection, one))

    def _end(self, key: Hashable) -> None:
        self._watches.pop(key, None)
        running = self._running.pop(key, None)
        if running is not None:
            running.cancel()

    async def listed(self, selection: Selection) -> tuple[Listed, ...]:
        """All instances of the service of a selection, whatever their tags and their health, asked for now."""
        datacenter = selection.datacenters[0] if selection.datacenters else self._transport.consul.datacenter
        return (await listed(self._transport, selection.name, datacenter))[1]

    async def services(self) -> Mapping[str, Sequence[str]]:
        """The names of all services, with all tags that instances of theirs have."""
        return await self._queries.services()

    async def read(self, key: str) -> bytes | None:
        """The value of a key now; None when there is none."""
        try:
            value = (await self._queries.key(key))[1]
        except ConsulError as error:
            return cast("bytes | None", self._offline.instead([key], error))
        self._offline.remember(key, value)
        return value

    async def write(self, key: str, value: bytes) -> None:
        """Stores the value of a key; a watch on it shows it when this returns."""
        before = self._answers_of(key)
        if not await self._queries.api.kv.put(key, value):
            raise ConsulRefused(f"Consul did not store key {key!r}", 200)
        newest: bytes | None = value
        while (answers := self._answers_of(key)) != before:
            # What the watch was told meanwhile may be from before this write, or from after it, by somebody else.
            before, (_, newest) = answers, await self._queries.key(key)
        watch = self._watches.get(("key", key))
        if watch is not None:
            watch.accept(newest)

    def _answers_of(self, key: str) -> int:
        watch = self._watches.get(("key", key))
        return 0 if watch is None else watch.answers

    def watch(self, key: str) -> Watch[bytes | None]:
        """The value of a key, followed."""

        async def query(index: int | None, wait: float) -> tuple[int, bytes | None]:
            return await self._queries.key(key, index, wait)

        return self._watch(("key", key), f"key {key!r}", query, None)

    def fetch_key(self, key: str) -> bytes | None:
        """The value of a key, asked for now; blocks the thread."""
        watch = self._watches.get(("key", key))
        if watch is not None and watch.known:
            return cast("bytes | None", watch.value)
        try:
            with self._transport.requests.traced("GET", f"/v1/kv/{key}"):
                return fetch(self._transport, lambda queries: queries.key(key))[1]
        except ConsulError as error:
            return cast("bytes | None", self._offline.instead([key], error))

    def end_watches(self) -> None:
        """Cancels all watches; what is asked for from now on is followed no more."""
        self._ended = True
        for task in self._running.values():
            task.cancel()

    def _watch(
        self,
        key: Hashable,
        name: str,
        query: Callable[[int | None, float], Awaitable[tuple[int, T]]],
        empty: T,
        hold: float = 0.0,
    ) -> Watch[T]:
        async def in_turn(index: int | None, wait: float) -> tuple[int, T]:
            return await self._turns.ask(query, index, wait)

        watch = self._watches.get(key)
        if watch is None:
            kept = _kept_as(key)
            made: Watch[T] = Watch(name, self._offline.backed(kept, in_turn, lambda: made), empty, hold)
            if not self._transport.reachable:
                self._offline.stand_in(kept, made)
            watch = self._watches.setdefault(key, made)
            if watch is not made:
                return watch  # another thread was quicker
            if _runs_in(self._loop):
                self._follow(key, watch)
            else:
                self._loop.call_soon_threadsafe(self._follow, key, watch)
        return watch

    def _follow(self, key: Hashable, watch: Watch[Any]) -> None:
        if self._ended or self._watches.get(key) is not watch:
            return
        # In a context of its own: it outlives the call that was the first to ask, and is no part of its trace.
        run = self._tasks.create_task(watch.run(), name=f"hrpc: watch of {watch.name}", context=contextvars.Context())
        self._running[key] = run


def _kept_as(key: Hashable) -> Key:
    """The place in the snapshot of what a watch with this key follows."""
    return key if isinstance(key, Selection) else cast("tuple[Any, Key]", key)[1]


def _runs_in(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
