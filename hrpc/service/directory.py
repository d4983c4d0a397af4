"""The services that one running server knows."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from hrpc.abc import Discovery, Selection
from hrpc.errors import ConsulError, ServiceNotFound
from hrpc.rpc.outgoing import Outgoing
from hrpc.service.balancing import EndpointReport
from hrpc.service.channel import Channel
from hrpc.service.connections import Connections
from hrpc.service.entry import Entry, Service


class Wish(NamedTuple):
    """What a caller asks for; the directory makes a selection of it."""

    name: str
    tag: str | tuple[str, ...] | None = None
    version: str | None = None
    datacenters: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        tag: str | Sequence[str] | None = None,
        version: str | None = None,
        datacenters: Sequence[str] = (),
    ) -> Wish:
        """From the arguments of `hrpc.service.get` and the like."""
        tags = tag if tag is None or isinstance(tag, str) else tuple(tag)
        return cls(name, tags, version, (datacenters,) if isinstance(datacenters, str) else tuple(datacenters))


class Followed(NamedTuple):
    """A selection that is followed, and what the channels to it give to each ``host:port``."""

    entry: Entry
    endpoints: Mapping[str, EndpointReport]


class Directory:
    """Finds services by what callers ask for, and follows what it has found."""

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
        self._entries: dict[Selection, Entry] = {}
        self._wishes: dict[Wish, Entry] = {}
        self._channels: dict[tuple[Selection, Any], Channel] = {}
        self._connections = connections
        self._outgoing = outgoing
        self._first_uses = threading.Lock()

    def selection(self, wish: Wish) -> Selection:
        """What is looked for: without a tag, the instances of this environment. Raises `ServiceNotFound`."""
        name, tag, version, datacenters = wish
        if not name or "/" in name or name in (".", ".."):
            raise ServiceNotFound(name, ": not the name of a service")
        tags = (self._tag if tag is None else tag,) if tag is None or isinstance(tag, str) else tag
        return Selection(name, tuple(each for each in tags if each), version, datacenters)

    def entry(self, wish: Wish) -> Entry:
        """What is known of a service; followed from the first use on."""
        entry = self._wishes.get(wish)
        if entry is None:
            selection = self.selection(wish)
            entry = self._entries.get(selection) or self._new_entry(selection)
            self._entries[selection] = self._wishes[wish] = entry
        return entry

    def _new_entry(self, selection: Selection) -> Entry:
        return Entry(self._discovery, selection, self._by_name)

    def get(self, wish: Wish) -> Service:
        """See `hrpc.service.get`."""
        entry = self._wishes.get(wish) or self._first_use(wish)
        return entry.next()

    def _first_use(self, wish: Wish) -> Entry:
        selection = self.selection(wish)
        with self._first_uses:  # of several threads, one asks, and the others have its answer
            entry = self._entries.get(selection)
            if entry is None:
                entry = self._new_entry(selection)
                # Only this once: while Consul is silent, a fetch for each call would block the loop each time.
                try:
                    entry.begin_with(self._discovery.fetch_instances(selection))
                except ConsulError as error:
                    entry.silent = error
                self._entries[selection] = entry
            self._wishes[wish] = entry
        return entry

    async def ready(self, wish: Wish, timeout: float) -> None:
        """See `hrpc.service.ready`."""
        await self.entry(wish).ready(timeout)

    def channel(self, wish: Wish) -> Channel:
        """See `hrpc.service.channel`."""
        entry = self.entry(wish)
        key = (entry.selection, None)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(entry, self._connections, self._outgoing)
        return channel

    def followed(self) -> list[Followed]:
        """All that is followed at the moment."""
        return [Followed(entry, {}) for entry in self._entries.values()]

    def ages(self) -> dict[str, float]:
        """Seconds since the registry last confirmed each service that is followed."""
        return {entry.name: entry.age() for entry in self._entries.values()}
