"""A hosted service for tests, which writes down what happens to it, and fails or hangs where it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import hrpc

SERVICE_SOURCE = """
class Worker:
    id = "worker"

    async def setup(self):
        print("set up")
        %s

    async def run(self):
        print("runs")
        try:
            await asyncio.Event().wait()
        finally:
            print("returned")
"""


@dataclass
class Scripted:
    """`does` says what it does at a stage instead of going on: ``setup``, ``run``, ``cancelled`` or ``release``."""

    id: str
    happened: list[str] = field(default_factory=list)
    does: dict[str, Callable[[], object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runs = asyncio.Event()

    @asynccontextmanager
    async def setup(self) -> AsyncIterator[None]:
        await self._at("setup")
        try:
            yield
        finally:
            await self._at("release")

    async def run(self) -> None:
        self.runs.set()
        try:
            if not await self._at("run"):
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            await self._at("cancelled")
            raise

    async def _at(self, stage: str) -> bool:
        self.happened.append(f"{self.id} {stage}")
        if stage not in self.does:
            return False
        result = self.does[stage]()
        if asyncio.iscoroutine(result):
            await result
        return True


def hosting(*services: Any, max_shutdown: float | None = 30.0) -> hrpc.Option:
    """The option for these."""
    return hrpc.with_services(*services, max_shutdown=max_shutdown)


async def hangs() -> None:
    """Waits until it is cancelled."""
    await asyncio.Event().wait()


async def swallows() -> None:
    """Waits, and takes no cancellation of its server for an answer."""
    for _ in range(2):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


def fails() -> None:
    """Fails."""
    raise ZeroDivisionError
