"""Finding services in a list, alone or before a registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from hrpc.abc import Discovery, Instance, Selection, Watched, WatchReport
from hrpc.option import StaticServices
from hrpc.static.services import FileServices, ListedServices


@asynccontextmanager
async def opened(services: StaticServices, environment: str) -> AsyncIterator[StaticDiscovery]:
    """The services of the option; a file is followed while the context lasts. Raises `OptionError`."""
    if services.path is None:
        yield StaticDiscovery(ListedServices(services.listed), environment)
        return
    listed = FileServices(services.path)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(listed.follow(), name=f"hrpc: following {services.path}")
        try:
            yield StaticDiscovery(listed, environment)
        finally:
            following.cancel()


class StaticInstances:
    """The instances of one selection in a list; a `hrpc.abc.Watched`."""

    def __init__(self, services: ListedServices, selection: Selection, environment: str) -> None:
        self._services = services
        self._selection = selection
        self._environment = environment
        self._changes = 0
        self._callbacks: list[Callable[[], None]] = []
        self.value = self._selected()

    @property
    def known(self) -> bool:
        """It is, always."""
        return True

    def age(self) -> float:
        """Seconds since the list was last seen to be this one."""
        return self._services.age()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back after every change of the instances."""
        self._callbacks.append(callback)

    async def ready(self, timeout: float | None) -> None:
        """It is, always."""

    def report(self) -> WatchReport:
        """How following the list goes."""
        return WatchReport(None, self.age(), self._services.error, None, self._changes)

    def turn(self) -> None:
        """The list has changed."""
        before, self.value = self.value, self._selected()
        if before != self.value:
            self._changes += 1
            for callback in self._callbacks:
                callback()

    def _selected(self) -> tuple[Instance, ...]:
        name, tags, version, datacenters = self._selection
        found = [
            instance
            for instance in self._services.listed.get(name, ())
            if set(tags) <= {*instance.tags, self._environment} and version in (None, instance.version)
        ]
        for datacenter in datacenters:
            if there := tuple(instance for instance in found if instance.datacenter in ("", datacenter)):
                return there
        return () if datacenters else tuple(found)


class StaticDiscovery:
    """Finds services in a list: the contract `Discovery`. Each instance has the tag of the environment, too."""

    def __init__(self, services: ListedServices, environment: str) -> None:
        self._services = services
        self._environment = environment
        self._followed: dict[Selection, StaticInstances] = {}
        services.callbacks.append(self._turn)

    async def renew(self) -> None:
        """Looks now whether the list has changed."""
        await self._services.renew()

    def lists(self, name: str) -> bool:
        """Whether a service is in the list."""
        return name in self._services.listed

    def instances(self, selection: Selection) -> StaticInstances:
        """The instances, followed."""
        return self._followed.setdefault(selection, StaticInstances(self._services, selection, self._environment))

    def fetch_instances(self, selection: Selection) -> Sequence[Instance]:
        """The instances now."""
        return self.instances(selection).value

    def release(self, selection: Selection) -> None:
        """Forgets a selection."""
        self._followed.pop(selection, None)

    async def services(self) -> Mapping[str, Sequence[str]]:
        """The names in the list, with all tags of their instances."""
        return {
            name: sorted({self._environment}.union(*(instance.tags for instance in instances)))
            for name, instances in self._services.listed.items()
        }

    def _turn(self) -> None:
        for followed in list(self._followed.values()):
            followed.turn()


class Preferred:
    """Finds services in a list, and in a registry those that are not in it when they are first asked for."""

    def __init__(self, static: StaticDiscovery, registry: Discovery) -> None:
        self._static = static
        self._registry = registry

    def instances(self, selection: Selection) -> Watched[Sequence[Instance]]:
        """The instances, followed."""
        return self._of(selection).instances(selection)

    def fetch_instances(self, selection: Selection) -> Sequence[Instance]:
        """The instances now; blocks the thread."""
        return self._of(selection).fetch_instances(selection)

    def release(self, selection: Selection) -> None:
        """Ends following a selection."""
        self._static.release(selection)
        self._registry.release(selection)

    async def services(self) -> Mapping[str, Sequence[str]]:
        """The names of both; where both have one, it is as in the list."""
        return {**await self._registry.services(), **await self._static.services()}

    def _of(self, selection: Selection) -> Discovery:
        return self._static if self._static.lists(selection.name) else self._registry
