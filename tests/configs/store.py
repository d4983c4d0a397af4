"""A store of values in memory, whose watches a test moves on."""

from __future__ import annotations

from collections.abc import Callable

from hrpc.errors import ConsulError


class Followed:
    def __init__(self) -> None:
        self.known = False
        self.value: bytes | None = None
        self._callbacks: list[Callable[[], None]] = []

    def age(self) -> float:
        return 0.0

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def ready(self, timeout: float) -> None:
        assert self.known

    def accept(self, value: bytes | None) -> None:
        changed, self.value, self.known = value != self.value or not self.known, value, True
        if changed:
            for callback in self._callbacks:
                callback()


class Store:
    """A `hrpc.abc.KeyValue`. `put` is what Consul would tell a watch."""

    def __init__(self, **texts: str) -> None:
        self.texts: dict[str, bytes] = {f"test/{name}": text.encode() for name, text in texts.items()}
        self.away: ConsulError | None = None
        self.fetched: list[str] = []
        self._followed: dict[str, Followed] = {}

    async def read(self, key: str) -> bytes | None:
        return self.fetch_key(key)

    async def write(self, key: str, value: bytes) -> None:
        self.texts[key] = value
        self.watch(key).accept(value)

    def watch(self, key: str) -> Followed:
        return self._followed.setdefault(key, Followed())

    def fetch_key(self, key: str) -> bytes | None:
        self.fetched.append(key)
        if self.away is not None:
            raise self.away
        return self.texts.get(key)

    def put(self, key: str, text: str | bytes | None) -> None:
        """The key has changed, and the watch has seen it; None deletes it."""
        self.watch(f"test/{key}").accept(text.encode() if isinstance(text, str) else text)
