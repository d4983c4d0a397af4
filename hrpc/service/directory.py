"""The services that one running server knows."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from hrpc.abc import Discovery, Selection
from hrpc.errors import ConsulError, NotRunning, ServiceNotFound
from hrpc.option import BalancerSettings
from hrpc.service.balanced_channel import Channel
from hrpc.service.balancing import EndpointReport
from hrpc.service.changes import Changes
from hrpc.service.channels import Channels
from hrpc.service.entry import Entry, Service
from hrpc.service.wish import Wish

IDLE_LIMIT = 600.0
"""Seconds after its last use for which a service is followed."""

MOST_FOLLOWED = 4096
"""Selections that are followed at once; beyond, those are let go that have not been used for the longest time."""


class Followed(NamedTuple):
    """A selection that is followed, and what the channels to it give to each ``host:port``."""

    entry: Entry
    endpoints: Mapping[str, EndpointReport]


class Directory:
    """Finds services by what callers ask for, and follows what it has found."""

    def __init__(
        self,
        discovery: Discovery,
        channels: Channels,
        tag: str,
        target: Literal["auto", "name", "address"],
    ) -> None:
        self._discovery = discovery
        self._tag = tag
        self._by_name = target == "name" or (target == "auto" and "KUBERNETES_SERVICE_HOST" in os.environ)
        self._entries: dict[Selection, Entry] = {}
        self._wishes: dict[tuple[Any, ...], Entry] = {}
        self._channels = channels
        self._loop = asyncio.get_running_loop()
        self._first_uses = threading.Lock()
        self._coming_and_going = threading.Lock()
        self._warned = False

    def selection(self, wish: Wish) -> Selection:
        """What is looked for: without a tag, the instances of this environment. Raises `ServiceNotFound`."""
        name, tag, version, datacenters = wish
        if not name or "/" in name or name in (".", ".."):
            raise ServiceNotFound(name, ": not the name of a service")
        return Selection(name, self._tags(tag), version, datacenters)

    def _tags(self, tag: str | tuple[str, ...] | None) -> tuple[str, ...]:
        tags = (self._tag,) if tag is None else (tag,) if isinstance(tag, str) else tag
        return tuple(each for each in tags if each)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that is followed."""
        return tuple(self._entries.values())

    def entry(self, wish: Wish) -> Entry:
        """What is known of a service; followed from the first use on. Raises `ServiceNotFound`."""
        entry = self._wishes.get(wish) or self._followed(wish, self.selection(wish))
        entry.used = True
        return entry

    def _followed(self, wish: Wish, selection: Selection, made: Entry | None = None) -> Entry:
        with self._coming_and_going:
            entry = self._entries.get(selection)
            if entry is None:
                entry = made or Entry(self._discovery, selection, self._by_name)
                self._entries[selection] = entry
                if len(self._entries) > MOST_FOLLOWED:
                    self._loop.call_soon_threadsafe(self.tidy)
            self._wishes[wish] = entry
        return entry

    def get(
        self, name: str, tag: str | Sequence[str] | None, version: str | None, datacenters: Sequence[str]
    ) -> Service:
        """See `hrpc.service.get`."""
        try:
            entry = self._wishes[name, tag, version, datacenters]  # equal to the wish, and made in no time
        except (KeyError, TypeError):
            entry = self._first_use(Wish.of(name, tag, version, datacenters))
        entry.used = True
        return entry.next()

    def _first_use(self, wish: Wish) -> Entry:
        selection = self.selection(wish)
        with self._first_uses:  # of several threads, one asks, and the others have its answer
            if selection in self._entries:
                return self._followed(wish, selection)
            with self._coming_and_going:
                made = Entry(self._discovery, selection, self._by_name)
            # Only this once: while Consul is silent, a fetch for each call would block the loop each time.
            try:
                fetched, silent = self._discovery.fetch_instances(selection), None
            except ConsulError as error:
                fetched, silent = (), error
            entry = self._followed(wish, selection, made)
            entry.begin_with(fetched, silent)
        return entry

    async def ready(self, wish: Wish, timeout: float) -> None:
        """See `hrpc.service.ready`."""
        await self.entry(wish).ready(timeout)

    def channel(self, wish: Wish, balancer: BalancerSettings | None = None) -> Channel:
        """See `hrpc.service.channel`."""
        if not self._is_on_loop():
            raise NotRunning(
                f"service.channel: calls to {wish.name!r} are made on the event loop of the server, not in a thread; "
                "use grpc.insecure_channel(service.get(…).target()) there, or hrpc.from_thread.run(…) with a coroutine"
            )
        entry = self.entry(wish)
        entry.kept = True
        return self._channels.channel(entry.selection, entry, balancer)

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def followed(self, entry: Entry) -> Followed:
        """What is known of one of `entries`, as it is at the moment."""
        return Followed(entry, self._channels.rows(entry.selection))

    def watch(self, wish: Wish) -> Changes:
        """See `hrpc.service.watch`."""
        return Changes(self.entry(wish))

    async def names(self, tag: str | tuple[str, ...] | None) -> dict[str, tuple[str, ...]]:
        """See `hrpc.service.list`."""
        wanted = set(self._tags(tag))
        found = await self._discovery.services()
        return {name: tuple(sorted(tags)) for name, tags in sorted(found.items()) if wanted <= set(tags)}

    def ages(self) -> dict[str, float]:
        """Seconds since the registry last confirmed each service that is followed; the most of its selections."""
        ages: dict[str, float] = {}
        for entry in self.entries:
            ages[entry.name] = max(entry.age(), ages.get(entry.name, 0.0))
        return ages

    async def keep_tidy(self) -> None:
        """Lets go, for ever, of what is not used any more."""
        while True:
            await asyncio.sleep(IDLE_LIMIT / 10)
            self.tidy()

    def tidy(self) -> None:
        """Lets go of what has not been used for `IDLE_LIMIT`, and of what is beyond `MOST_FOLLOWED`."""
        now = time.monotonic()
        unused = []
        for entry in self.entries:
            if entry.used:
                entry.used, entry.used_at = False, now
            if not entry.kept and not entry.readers:
                unused.append(entry)
        unused.sort(key=lambda entry: entry.used_at)
        # A little more than needed, so that this is not done again for the next one.
        beyond = len(self._entries) - MOST_FOLLOWED
        beyond += MOST_FOLLOWED // 16 if beyond > 0 else 0
        gone = [entry for number, entry in enumerate(unused) if number < beyond or now - entry.used_at >= IDLE_LIMIT]
        self._let_go(gone)
        if len(self._entries) > MOST_FOLLOWED and not self._warned:
            from loguru import logger

            self._warned = True
            logger.warning("{} selections of services are followed, each by a connection to Consul", len(self._entries))

    def _let_go(self, gone: Sequence[Entry]) -> None:
        with self._coming_and_going:
            for entry in gone:
                del self._entries[entry.selection]
                self._discovery.release(entry.selection)
            if gone:
                left = set(gone)
                self._wishes = {wish: entry for wish, entry in self._wishes.items() if entry not in left}
