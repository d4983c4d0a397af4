"""Configuration values in Consul KV.

::

    from hrpc import configs

    limit = int(configs.get("orders/limit"))       # {environment}/orders/limit
    text = configs.sget("greeting")                # {environment}/services/{server}/greeting
    await configs.set("orders/limit", "20")

A value is followed from its first use on, so that reading it again costs nothing and gives what Consul has now.
"""

from __future__ import annotations

import json
import threading

from hrpc import _runtime
from hrpc.abc import KeyValue, StoredSettings, Watched
from hrpc.errors import ConsulError, InvalidConfig, KeyNotExist, NotInitialized


class Configs:
    """The values of one running server."""

    def __init__(self, store: KeyValue, prefix: str, server_name: str) -> None:
        self._store = store
        self._prefix = prefix
        self._own = f"{prefix}/services/{server_name}"
        self._followed: dict[str, Watched[bytes | None]] = {}
        self._fetched: dict[str, bytes | ConsulError | None] = {}
        self._first_use = threading.Lock()

    def get(self, key: str) -> str:
        """See the module's `get`."""
        return self._text(f"{self._prefix}/{_clean(key)}")

    def sget(self, key: str) -> str:
        """See the module's `sget`."""
        return self._text(f"{self._own}/{_clean(key)}")

    async def set(self, key: str, value: str) -> None:
        """See the module's `set`."""
        await self._store.write(f"{self._prefix}/{_clean(key)}", value.encode())

    def ages(self) -> dict[str, float]:
        """Seconds since Consul last confirmed each value that is followed."""
        return {path: followed.age() for path, followed in self._followed.items()}

    def _follow(self, path: str) -> Watched[bytes | None]:
        with self._first_use:  # of several threads, one asks, and the others have its answer
            followed = self._followed.get(path)
            if followed is None:
                followed = self._store.watch(path)
                # Only this once: while Consul is silent, a fetch for each use would block the loop each time.
                try:
                    self._fetched[path] = self._store.fetch_key(path)
                except ConsulError as error:
                    self._fetched[path] = error
                self._followed[path] = followed
        return followed

    def _first(self, path: str) -> bytes | None:
        fetched = self._fetched[path]
        if isinstance(fetched, ConsulError):
            raise fetched
        return fetched

    def _text(self, path: str) -> str:
        followed = self._followed.get(path) or self._follow(path)
        value = followed.value if followed.known else self._first(path)
        if value is None:
            raise KeyNotExist(path)
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InvalidConfig(f"key {path!r}", None, "text in UTF-8", "other bytes") from error


def _clean(key: str) -> str:
    clean = key.strip("/")
    # A path with dots would lead out of the environment, or of the KV store altogether.
    if any(part in ("", ".", "..") for part in clean.split("/")):
        raise ValueError(f"configs: {key!r} is not a key: it takes names between single slashes, other than . and ..")
    return clean


slot = _runtime.Slot[Configs]("configs", "hrpc.with_consul(…)", NotInitialized)


def get(key: str) -> str:
    """The value of ``{environment}/{key}``. The first use of a key asks Consul and blocks for that long.

    Raises `KeyNotExist`, `NotInitialized`, `ConsulError`, or `InvalidConfig` when it is not text.
    """
    return slot.get().get(key)


def sget(key: str) -> str:
    """The value of ``{environment}/services/{server name}/{key}``: this service's own. Raises as `get`."""
    return slot.get().sget(key)


async def set(key: str, value: str) -> None:
    """Stores ``{environment}/{key}``. Raises `NotInitialized` or `ConsulError`."""
    await slot.get().set(key, value)


async def read_object(store: KeyValue, key: str) -> StoredSettings:
    """A JSON object from the store. Raises `KeyNotExist`, `InvalidConfig` or the store's error."""
    text = await store.read(key)
    if text is None:
        raise KeyNotExist(key)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InvalidConfig(f"key {key!r}", None, "a JSON object", f"what is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InvalidConfig(f"key {key!r}", None, "a JSON object", f"a JSON {type(values).__name__}")
    return StoredSettings(key, values)
