"""What is true of the server now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from hrpc.errors import HrpcError

PART_LIMIT = 1.0
"""Seconds that a part has to answer; its answer is then good for as long, so that many probes ask it once."""


class Phase(StrEnum):
    """Where the server stands in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the server wants calls, and why not: part → "ok", or what is wrong with it."""

    ready: bool
    parts: dict[str, str]


class _Part:
    def __init__(self, ping: Callable[[], Awaitable[None]]) -> None:
        self._ping = ping
        self._asking: asyncio.Task[str] | None = None
        self._until = 0.0

    async def ask(self) -> str:
        if self._asking is None or (self._asking.done() and time.monotonic() >= self._until):
            self._asking = asyncio.create_task(self._ask(), name="hrpc: health of a part")
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(PART_LIMIT):
                await self._ping()
        except TimeoutError:
            return f"no answer within {PART_LIMIT:g} s"
        except HrpcError as error:
            return str(error)
        finally:
            self._until = time.monotonic() + PART_LIMIT
        return "ok"


class Health:
    """The state that all probes read."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.maintenance: str | None = None
        """Why the server wants no new calls for now; None when it wants them."""
        self._parts: dict[str, _Part] = {}
        self._details: dict[str, Callable[[], str]] = {}
        self._changed = asyncio.Event()

    def add(self, name: str, ping: Callable[[], Awaitable[None]]) -> None:
        """A part without which the server is not ready. `ping` raises an `HrpcError` when it is not well."""
        self._parts[name] = _Part(ping)

    def tell(self, name: str, read: Callable[[], str]) -> None:
        """Something to tell beside the parts; the server is as ready as it is, whatever this says."""
        self._details[name] = read

    def enter(self, phase: Phase) -> None:
        """Goes to the next phase and tells those who watch."""
        self.phase = phase
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Waits for the next phase."""
        await self._changed.wait()

    async def readiness(self) -> Readiness:
        """Asks every part, each for at most a second."""
        names = list(self._parts)
        answers = await asyncio.gather(*(self._parts[name].ask() for name in names))
        parts = {"server": self._server()}
        parts.update(zip(names, answers, strict=True))
        ready = all(answer == "ok" for answer in parts.values())
        return Readiness(ready, parts | {name: read() for name, read in self._details.items()})

    def _server(self) -> str:
        if self.phase is Phase.SERVING and self.maintenance is not None:
            return f"in maintenance: {self.maintenance}"
        return "ok" if self.phase is Phase.SERVING else str(self.phase)
