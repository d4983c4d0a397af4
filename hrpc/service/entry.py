"""What is known of one selection of instances: a snapshot that a call reads without waiting."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakSet

from hrpc.abc import Discovery, Instance, Selection, WatchReport
from hrpc.errors import ConsulError, ServiceNotFound


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
    """The instances of one selection, followed."""

    def __init__(self, discovery: Discovery, selection: Selection, by_name: bool) -> None:
        self.selection = selection
        self.name = selection.name
        self.kept = False
        """Whether it stays known although nobody asks for it."""
        self.used = True
        """Set at each use; cleared by whoever looks for what is not used."""
        self.used_at = time.monotonic()
        self.readers: WeakSet[object] = WeakSet()
        """Those for whom it stays known while they exist."""
        self.turning = asyncio.Event()
        """Set at the next change, when another one takes its place."""
        self._silent: ConsulError | None = None
        self._watched = discovery.instances(selection)
        self._by_name = by_name
        self._best: Iterator[Service] | None = None
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

    def report(self) -> WatchReport:
        """How following them goes."""
        return self._watched.report()

    def next(self) -> Service:
        """The next of the best instances. Raises `ServiceNotFound`."""
        if self._best is None:
            if self._silent is not None and not self._watched.known:
                raise self._silent
            raise ServiceNotFound(self.name, "" if self._watched.known else ": Consul has not answered yet")
        return next(self._best)

    def begin_with(self, instances: Sequence[Instance], error: ConsulError | None) -> None:
        """Takes what was fetched beforehand, or why that failed, unless the watch knows better already."""
        self._silent = error
        if error is None and not self._watched.known:
            self._offer(instances)

    async def answered(self, timeout: float | None) -> None:
        """Waits for the registry's first answer, at most `timeout` seconds if any; raises its error."""
        await self._watched.ready(timeout)

    async def ready(self, timeout: float) -> None:
        """Waits for an instance, at most `timeout` seconds. Raises `ServiceNotFound` or the registry's error."""
        began = time.monotonic()
        await self.answered(timeout)
        try:
            async with asyncio.timeout(max(0.0, timeout - (time.monotonic() - began))):
                while self._best is None:
                    await self.turning.wait()
        except TimeoutError:
            raise ServiceNotFound(self.name, f" (waited {timeout:g} s)") from None

    def _turn(self) -> None:
        self._offer(self.instances)
        turned, self.turning = self.turning, asyncio.Event()
        turned.set()

    def _offer(self, instances: Sequence[Instance]) -> None:
        highest = max((instance.weight for instance in instances), default=0)
        best = [self._service(instance) for instance in instances if instance.weight == highest]
        self._best = itertools.cycle(best) if best else None

    def _service(self, instance: Instance) -> Service:
        target = f"{instance.name}:{instance.port}" if self._by_name else instance.endpoint
        return Service(instance.id, instance.name, instance.endpoint, instance.port, instance.weight, target)
