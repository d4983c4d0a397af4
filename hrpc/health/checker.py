"""A checker: one thing that a probe asks, and what was found last."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple

from hrpc import life
from hrpc._runtime import Hook
from hrpc.errors import HrpcError

OK = "ok"
GOOD_FOR = 1.0
"""Seconds for which an answer is good, so that many probes ask once."""


class Kind(StrEnum):
    """What a probe wants to know (https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/)."""

    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


class Checker(NamedTuple):
    """What is asked. See `hrpc.health.check`."""

    name: str
    check: Hook
    kind: Kind
    timeout: float
    every: float | None = None


class Checked:
    """A checker in one life of a server."""

    def __init__(self, checker: Checker, tell: Callable[[Checker, str], None]) -> None:
        """`tell` is called when it fails, and when it is well again."""
        self.checker = checker
        self._tell = tell
        self._said = OK
        self._asking: asyncio.Task[str] | None = None
        self._until = 0.0
        self._busy = False
        self._following: asyncio.Task[None] | None = None
        self._first = asyncio.Event()

    async def answer(self) -> str:
        """``ok``, or what is wrong; of one that is checked in the background, what it said last."""
        if self._following is not None:
            await self._first.wait()
            return self._said
        if self._asking is None or (self._asking.done() and time.monotonic() >= self._until):
            self._asking = asyncio.create_task(self._ask(), name=f"hrpc: health of {self.checker.name}")
        return await asyncio.shield(self._asking)

    def follow(self, group: asyncio.TaskGroup, begin: Callable[[], Awaitable[None]]) -> None:
        """Asks again and again in the background, once `begin` has ended, and until `end`."""
        self._following = group.create_task(self._follow(begin), name=f"hrpc: health of {self.checker.name}")

    def end(self) -> None:
        """Asks no more."""
        for task in (self._following, self._asking):
            if task is not None:
                task.cancel()

    async def _follow(self, begin: Callable[[], Awaitable[None]]) -> None:
        assert self.checker.every is not None
        await begin()
        while True:
            await self._ask()
            self._first.set()
            await asyncio.sleep(self.checker.every * random.uniform(0.9, 1.1))

    async def _ask(self) -> str:
        said = await self._found()
        self._until = time.monotonic() + GOOD_FOR
        if (said == OK) != (self._said == OK):
            self._tell(self.checker, said)
        self._said = said
        return said

    async def _found(self) -> str:
        # One that never ends must not take a thread, or leave a task, each time that it is asked.
        if self._busy:
            return f"it was asked before, and has not answered within {self.checker.timeout:g} s"
        task = asyncio.ensure_future(
            life.run_hook(self._on_loop if life.is_async(self.checker.check) else self._in_thread)
        )
        try:
            await asyncio.wait({task}, timeout=self.checker.timeout)
        finally:
            late = not task.done()
            task.cancel()
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else looks at it then
        if late:
            return f"no answer within {self.checker.timeout:g} s"
        if task.cancelled():
            return "cancelled itself"
        if error := task.exception():
            return str(error) if isinstance(error, HrpcError) else f"{type(error).__name__}: {error}"
        return OK if task.result() is not False else "it says no"

    def _in_thread(self) -> object:
        self._busy = True
        try:
            return self.checker.check()
        finally:
            self._busy = False

    async def _on_loop(self) -> object:
        self._busy = True
        try:
            result = self.checker.check()
            return await result if inspect.isawaitable(result) else result
        finally:
            self._busy = False
