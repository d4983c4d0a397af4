"""A server for tests of its life, and a database that writes down what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import hrpc
from hrpc import _runtime
from hrpc.abc import PoolStats
from tests.echo import Gate, add_echo

LOCAL = hrpc.with_listen_port(0, host="127.0.0.1")


def a_server(*options: hrpc.Option, gate: Gate | None = None, **methods: Any) -> hrpc.Server:
    server = hrpc.new_server(hrpc.with_server_name("life"), LOCAL, *options)
    add_echo(server, gate, **methods)
    return server


@dataclass
class Recorded:
    """A database that writes down what happens to it."""

    happened: list[str]
    fails_at: str = ""
    hangs_at: str = ""
    name: str = "recorded"
    needs_settings: bool = False
    slot: Any = field(default_factory=lambda: _runtime.Slot("recorded", "…"))

    @asynccontextmanager
    async def open(self, _: object) -> AsyncIterator[Recorded]:
        await self._at("open")
        try:
            yield self
        finally:
            await self._at("close")

    async def _at(self, step: str) -> None:
        self.happened.append(step)
        if self.fails_at == step:
            raise ZeroDivisionError(step)
        if self.hangs_at == step:
            await asyncio.Event().wait()

    client = "the client"

    async def ping(self) -> None: ...

    def stats(self) -> PoolStats:
        return PoolStats(0, 0, 0)

    def is_unavailable(self, error: BaseException) -> bool:
        return False
