"""The values of one running server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from hrpc import _runtime
from hrpc.abc import KeyValue
from hrpc.configs.key import Key, Value, cleaned
from hrpc.configs.watching import Delivery, Watching
from hrpc.errors import ConsulError

T = TypeVar("T")


class Configs:
    """The values of one running server: each key is followed from its first use on."""

    def __init__(self, store: KeyValue, prefix: str, server_name: str) -> None:
        self._store = store
        self._prefix = prefix
        self._own = f"{prefix}/services/{server_name}"
        self._keys: dict[str, Key] = {}
        self._values: dict[tuple[bool, str, Any], Value[Any]] = {}
        self._first_uses: dict[str, threading.Lock] = {}
        self._making = threading.Lock()
        self._deliveries: list[Delivery] = []
        self._group: asyncio.TaskGroup | None = None

    def get(self, key: str, kind: type[T]) -> T:
        """See the module's `get`."""
        value: Value[T] | None = self._values.get((False, key, kind))
        return (value or self._value(False, key, kind)).get()

    def sget(self, key: str, kind: type[T]) -> T:
        """See the module's `sget`."""
        value: Value[T] | None = self._values.get((True, key, kind))
        return (value or self._value(True, key, kind)).get()

    async def ready(self, *keys: str, own: bool = False) -> None:
        """See the module's `ready`."""
        await asyncio.gather(*(self._fetch(self.path(key, own)) for key in keys))

    async def set(self, key: str, value: str) -> None:
        """See the module's `set`."""
        await self._store.write(self.path(key), value.encode())

    def watch(self, watching: Watching) -> None:
        """Calls the handler of `watching` from now on, until it is cancelled."""
        self._deliveries = [known for known in self._deliveries if not known.over]
        key = self._key(self.path(watching.key, watching.own))
        delivery = Delivery(watching, key, key.value(watching.kind).now)
        self._deliveries.append(delivery)
        if self._group is not None:
            delivery.begin(self._group)

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Calls the handlers of changes while the context lasts, those registered at import among them."""
        early = list(_runtime.early_config_watches)
        for own in (False, True):
            await self.ready(*{watching.key for watching in early if watching.own is own}, own=own)
        for watching in early:
            self.watch(watching)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for delivery in self._deliveries:
                delivery.begin(group)
            try:
                yield
            finally:
                self._group = None
                for delivery in self._deliveries:
                    delivery.end()

    def ages(self) -> dict[str, float]:
        """Seconds since Consul last confirmed each value that is followed."""
        return {path: key.age() for path, key in self._keys.items()}

    def refused(self) -> dict[str, float]:
        """How many texts of each key were not what they have to be."""
        return {path: key.refused for path, key in self._keys.items()}

    def failures(self) -> dict[str, float]:
        """How often handlers of changes have failed, for each key."""
        return {path: key.failures for path, key in self._keys.items()}

    def path(self, key: str, own: bool = False) -> str:
        """Where a key stands in the store. Raises ValueError for what is not a key."""
        return f"{self._own if own else self._prefix}/{cleaned(key)}"

    def _value(self, own: bool, key: str, kind: type[T]) -> Value[T]:
        value = self._key(self.path(key, own)).value(kind)
        return self._values.setdefault((own, key, kind), value)

    def _key(self, path: str) -> Key:
        key = self._keys.get(path)
        if key is not None:
            return key
        with self._first_uses.setdefault(path, threading.Lock()):  # of several threads, one asks for all
            key = self._keys.get(path)
            if key is None:
                self._store.watch(path)
                # Only this once: while Consul is silent, a fetch for each use would block the loop each time.
                fetched: bytes | ConsulError | None
                try:
                    fetched = self._store.fetch_key(path)
                except ConsulError as error:
                    fetched = error
                key = self._made(path, fetched)
        self._first_uses.pop(path, None)
        return key

    async def _fetch(self, path: str) -> None:
        if path in self._keys:
            return
        fetched: bytes | ConsulError | None
        try:
            fetched = await self._store.read(path)
        except ConsulError as error:
            fetched = error
        self._made(path, fetched)

    def _made(self, path: str, fetched: bytes | ConsulError | None) -> Key:
        with self._making:  # which is short: nothing is asked here, so that the event loop may wait for it
            key = self._keys.get(path)
            if key is None:
                key = self._keys[path] = Key(path, self._store.watch(path), fetched)
        return key
