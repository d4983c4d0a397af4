"""Keeps a snapshot: reads it before the start, takes in what Consul confirms, and writes it beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from loguru import logger

from hrpc.abc import Instance, Selection
from hrpc.consul.snapshot import file
from hrpc.consul.snapshot.confidential import without_secrets
from hrpc.consul.snapshot.contents import Contents, Origin, Stored, UnusableSnapshot, decode, encode
from hrpc.option import SnapshotSettings

WRITE_INTERVAL = 2.0
"""Seconds between two writes at least: changes that come together are written together."""
CONFIRM_INTERVAL = 60.0
"""Seconds after which it is written although nothing has changed, so that it tells how old the values really are."""

Key = str | Selection
"""A key of the KV store, or which instances of which service."""


class Snapshot:
    """The newest confirmed values, of this life and of those before it."""

    def __init__(self, settings: SnapshotSettings, origin: Origin, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self.path = Path(settings.path)
        self.written: float | None = None
        """When it was last written, in seconds since 1970; None when it has not been in this life."""
        self._settings = settings
        self._origin = origin
        self._clock = clock
        self._keys: dict[str, Stored[bytes | None]] = {}
        self._services: dict[Selection, Stored[tuple[Instance, ...]]] = {}
        self._left_out: frozenset[str] = frozenset()
        self._too_old: dict[Key, float] = {}
        self._problem: str | None = None
        self._changed = asyncio.Event()
        self._confirmed = False
        self._failing = False

    async def load(self) -> None:
        """Reads the file. Raises `OptionError` when there can be none; one that cannot be used is logged."""
        await asyncio.to_thread(self._load)

    async def keep(self) -> None:
        """Writes the file after changes, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CONFIRM_INTERVAL):
                    await self._changed.wait()
                    await asyncio.sleep(WRITE_INTERVAL)
            except TimeoutError:
                pass
            await self.write()

    async def write(self) -> None:
        """Writes the file now, unless nothing was confirmed since it was written. What goes wrong is logged."""
        if not self._confirmed:
            return
        self._changed.clear()
        self._confirmed = False
        # Also what was let go of is kept for its time, but not for ever.
        self._keys, self._services = self._fresh(self._keys), self._fresh(self._services)
        contents = Contents(self._origin, dict(self._keys), dict(self._services))
        try:
            await asyncio.to_thread(self._write_now, contents)
        except OSError as error:
            self._confirmed = True
            if not self._failing:
                logger.error("snapshot {}: cannot be written: {}; it is tried again", self.path, error.strerror)
            self._failing = True
            return
        if self._failing:
            logger.info("snapshot {}: written again", self.path)
        self._failing = False
        self.written = self._clock()

    @property
    def problem(self) -> str | None:
        """Why nothing could be taken from the file when it was loaded; None when it could be read."""
        return self._problem

    @property
    def usable(self) -> bool:
        """Whether there is anything that a start could go on with."""
        return bool(self._keys or self._services)

    def remember(self, key: Key, value: Any, at: float) -> None:
        """Takes in what Consul has confirmed at this time, in seconds since 1970."""
        stored: dict[Any, Stored[Any]] = self._services if isinstance(key, Selection) else self._keys
        before = stored.get(key)
        if isinstance(key, Selection) and not value:
            return  # an empty list helps nobody to start; the one before it ages out
        stored[key] = Stored(value, at)
        self._confirmed = True
        if before is None or before.value != value:
            self._changed.set()

    def restore(self, key: Key) -> tuple[Any, float] | None:
        """The last confirmed value and its age in seconds; None when there is none that can be used."""
        stored: dict[Any, Stored[Any]] = self._services if isinstance(key, Selection) else self._keys
        found = stored.get(key)
        age = None if found is None else found.age(self._clock(), self._settings.max_age)
        return None if found is None or age is None else (found.value, age)

    def missing(self, key: Key) -> str:
        """Why there is nothing to restore, for people."""
        if self._problem is not None:
            return f"the snapshot {self.path} cannot be used: {self._problem}"
        if key in self._left_out:
            return (
                f"the snapshot {self.path} is without {named(key)}, because it may hold secrets, which are only "
                "stored with hrpc.with_snapshot(…, secrets=True)"
            )
        if key in self._too_old:
            return (
                f"{named(key)} in the snapshot {self.path} is {lasting(self._too_old[key])} old, which is more than "
                f"hrpc.with_snapshot(…, max_age={self._settings.max_age:g})"
            )
        return f"the snapshot {self.path} has no {named(key)}"

    def about(self) -> str:
        """What is in it and how old it is, for people."""
        now = self._clock()
        times = [stored.at for stored in self._keys.values()] + [stored.at for stored in self._services.values()]
        oldest = lasting(max(0.0, now - min(times, default=now)))
        return f"{len(self._keys)} keys and {len(self._services)} services, the oldest of {oldest} ago"

    def _load(self) -> None:
        file.check(self.path)
        with suppress(OSError):  # of another user's: it stays, and is in nobody's way
            file.tidy(self.path)
        try:
            data = file.read(self.path)
            found = None if data is None else decode(data)
            if found is not None and (difference := self._origin.difference(found.origin)):
                raise UnusableSnapshot(f"it is of another one: {difference}")
        except UnusableSnapshot as error:
            self._problem = str(error)
            logger.error("snapshot {}: {}; it is ignored, and replaced by the next one", self.path, error)
            return
        if found is None:
            self._problem = "there is none yet"
            return
        self._keys = self._young(found.keys)
        self._services = self._young(found.services)
        self._left_out = found.left_out
        if self._too_old:
            logger.warning(
                "snapshot {}: {} of its values are older than {} or from the future, and are ignored",
                self.path,
                len(self._too_old),
                lasting(self._settings.max_age),
            )

    def _young(self, stored: Any) -> dict[Any, Stored[Any]]:
        now, kept = self._clock(), {}
        for key, each in stored.items():
            if each.age(now, self._settings.max_age) is None:
                self._too_old[key] = now - each.at
            else:
                kept[key] = each
        return kept

    def _write_now(self, contents: Contents) -> None:
        file.write(self.path, encode(contents if self._settings.secrets else without_secrets(contents)))

    def _fresh(self, stored: Any) -> dict[Any, Stored[Any]]:
        now = self._clock()
        return {key: each for key, each in stored.items() if each.age(now, self._settings.max_age) is not None}


def named(key: Key) -> str:
    """What it is, for people."""
    return f"key {key!r}" if isinstance(key, str) else f"service {key.name!r}"


def lasting(seconds: float) -> str:
    """A time for people: ``2 days, 3:04:05``."""
    return str(timedelta(seconds=round(seconds)))
