"""A plugin for tests, which writes down what happens to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from hrpc.plugin import Announced, Plugin


class Loaded(Plugin):
    """One that is loaded and unloaded."""

    def __init__(self, name: str, *depends_on: str, happened: list[str] | None = None) -> None:
        self.name = name
        self.depends_on: Sequence[str] = depends_on
        self.happened = [] if happened is None else happened

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        self.happened.append(f"load {self.name}")
        yield
        self.happened.append(f"unload {self.name}")


class Announcing(Loaded):
    """One that tells others of the server as well."""

    told: Announced

    @asynccontextmanager
    async def announce(self, server: Announced) -> AsyncIterator[None]:
        self.told = server
        self.happened.append(f"announce {self.name}")
        server.when_drained(lambda: self.happened.append(f"drained {self.name}"))
        yield
        self.happened.append(f"withdraw {self.name}")
