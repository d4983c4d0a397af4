"""The instances of other services, as snapshots that a call reads without waiting."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hrpc.abc import Discovery, Instance
from hrpc.errors import ConsulError, ServiceNotFound
from hrpc.rpc.outgoing import Outgoing
from hrpc.service.channel import Channel
from hrpc.service.connections import Connections


@dataclass(frozen=True, slots=True)
class Service:
    """One instance of a service. ``str()`` and `endpoint` are its ``ip:port``."""

    id: str
    name: str
    endpoint: str
    port: int
    weight: int
    _target: str

    def target(self) -> str:
        """What to hand to ``grpc.aio.insecure_channel``; see `hrpc.with_target`."""
        return self._target

    def __str__(self) -> str:
        return self.endpoint


class Entry:
    """What is known of one service with one tag."""

    def __init__(self, discovery: Discovery, name: str, tag: str, by_name: bool) -> None:
        self.name = name
        self._watched = discovery.instances(name, tag)
        self._by_name = by_name
        self._best: Iterator[Service] | None = None
        self._arrived = asyncio.Event()
        self.silent: ConsulError | None = None
        """Why the first fetch failed; it holds until the registry answers."""
        self._watched.on_change(self._turn)
        self._offer(self.instances)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances now."""
        return tuple(self._watched.value)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back after every change of the instances."""
        self._watched.on_change(callback)

    def age(self) -> float:
        """Seconds since the registry last confirmed the instances; infinite before its first answer."""
        return self._watched.age()

    def next(self) -> Service:
        """The next of the best instances. Raises `ServiceNotFound`."""
        if self._best is None:
            if self.silent is not None and not self._watched.known:
                raise self.silent
            raise ServiceNotFound(self.name, "" if self._watched.known else ": Consul has not answered yet")
        return next(self._best)

    def begin_with(self, instances: Sequence[Instance]) -> None:
        """Takes what was fetched beforehand, unless the watch knows better already."""
        if not self._watched.known:
            self._offer(instances)

    async def answered(self, timeout: float) -> None:
        """Waits for the registry's first answer, at most `timeout` seconds; raises its error."""
        await self._watched.ready(timeout)

    async def ready(self, timeout: float) -> None:
        """Waits for an instance, at most `timeout` seconds. Raises `ServiceNotFound` or the registry's error."""
        began = time.monotonic()
        await self.answered(timeout)
        try:
            async with asyncio.timeout(max(0.0, timeout - (time.monotonic() - began))):
                while self._best is None:
                    await self._arrived.wait()
        except TimeoutError:
            raise ServiceNotFound(self.name, f" (waited {timeout:g} s)") from None

    def _turn(self) -> None:
        self._offer(self.instances)

    def _offer(self, instances: Sequence[Instance]) -> None:
        highest = max((instance.weight for instance in instances), default=0)
        best = [self._service(instance) for instance in instances if instance.weight == highest]
        self._best = itertools.cycle(best) if best else None
        if best:
            self._arrived.set()
        else:
            self._arrived.clear()

    def _service(self, instance: Instance) -> Service:
        target = f"{instance.name}:{instance.port}" if self._by_name else instance.endpoint
        return Service(instance.id, instance.name, instance.endpoint, instance.port, instance.weight, target)


class Directory:
    """The services that one running server knows."""

    def __init__(
        self,
        discovery: Discovery,
        connections: Connections,
        outgoing: Outgoing,
        tag: str,
        target: Literal["auto", "name", "address"],
    ) -> None:
        self._discovery = discovery
        self._tag = tag
        self._by_name = target == "name" or (target == "auto" and "KUBERNETES_SERVICE_HOST" in os.environ)
        self._entries: dict[tuple[str, str | None], Entry] = {}
        self._channels: dict[tuple[str, str | None], Channel] = {}
        self._connections = connections
        self._outgoing = outgoing
        self._first_uses = threading.Lock()

    def entry(self, name: str, tag: str | None) -> Entry:
        """What is known of a service; followed from the first use on."""
        entry = self._entries.get((name, tag))
        if entry is None:
            entry = self._entries[name, tag] = self._new_entry(name, tag)
        return entry

    def _new_entry(self, name: str, tag: str | None) -> Entry:
        if not name or "/" in name or name in (".", ".."):
            raise ServiceNotFound(name, ": not the name of a service")
        return Entry(self._discovery, name, self._tag if tag is None else tag, self._by_name)

    def get(self, name: str, tag: str | None) -> Service:
        """See `hrpc.service.get`."""
        entry = self._entries.get((name, tag)) or self._first_use(name, tag)
        return entry.next()

    def _first_use(self, name: str, tag: str | None) -> Entry:
        with self._first_uses:  # of several threads, one asks, and the others have its answer
            entry = self._entries.get((name, tag))
            if entry is None:
                entry = self._new_entry(name, tag)
                # Only this once: while Consul is silent, a fetch for each call would block the loop each time.
                try:
                    entry.begin_with(self._discovery.fetch_instances(name, self._tag if tag is None else tag))
                except ConsulError as error:
                    entry.silent = error
                self._entries[name, tag] = entry
        return entry

    async def ready(self, name: str, tag: str | None, timeout: float) -> None:
        """See `hrpc.service.ready`."""
        await self.entry(name, tag).ready(timeout)

    def channel(self, name: str, tag: str | None) -> Channel:
        """See `hrpc.service.channel`."""
        key = (name, tag)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(self.entry(name, tag), self._connections, self._outgoing)
        return channel

    def ages(self) -> dict[str, float]:
        """Seconds since the registry last confirmed each service that is followed."""
        return {name: entry.age() for (name, _), entry in self._entries.items()}
