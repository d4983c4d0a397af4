"""The steps of a life: entered one after the other, left in reverse, each with its time and its own error."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, TypeVar

from hrpc.errors import StartError, StepInterrupted, StepTimeout

T = TypeVar("T")


class _Entered(NamedTuple):
    name: str
    manager: AbstractAsyncContextManager[object]
    limit: float | None


class Timeline:
    """What happened when: names of steps with the seconds each one took."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, float]] = []
        self._began = time.monotonic()

    def add(self, name: str, began: float) -> None:
        """A step that has just ended; `began` is in seconds of ``time.monotonic``."""
        self._steps.append((name, time.monotonic() - began))

    @property
    def seconds(self) -> float:
        """Seconds since the first step."""
        return time.monotonic() - self._began

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.3f}" for name, seconds in self._steps)


class Steps:
    """Enters async context managers; leaves all of them, whatever one of them does."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds that a step has for leaving, when it is given none of its own."""
        self._limit = limit
        self._entered: list[_Entered] = []
        self.start = Timeline()
        self.stop = Timeline()
        self.errors: list[Exception] = []

    async def enter(
        self,
        name: str | None,
        manager: AbstractAsyncContextManager[T],
        *,
        leaving: str | None = None,
        limited: bool = True,
    ) -> T:
        """Enters a step. Raises `StartError`.

        `leaving` is its name in the stop when that is another; a step without a `name` does nothing at the start.
        When it is not `limited`, its leaving has waits and limits of its own.
        """
        began = time.monotonic()
        try:
            value = await manager.__aenter__()
        except Exception as error:
            raise StartError(name or leaving or "", error) from error
        self._entered.append(_Entered(leaving or name or "", manager, self._limit if limited else None))
        if name is not None:
            self.start.add(name, began)
        return value

    async def leave_all(self) -> None:
        """Leaves the steps, last one first; what goes wrong is put into `errors`."""
        self.stop = Timeline()
        while self._entered:
            step = self._entered.pop()
            began = time.monotonic()
            await self._leave(step)
            self.stop.add(step.name, began)

    async def _leave(self, step: _Entered) -> None:
        try:
            async with asyncio.timeout(step.limit) as limit:
                await step.manager.__aexit__(None, None, None)
        except TimeoutError as timeout:
            late = step.limit is not None and limit.expired()
            self.errors.append(StepTimeout(step.name, step.limit or 0.0) if late else timeout)
        except asyncio.CancelledError:
            # Another step's task group does this when a task of its crashes. What is left to release is released.
            take_back_cancellation()
            self.errors.append(StepInterrupted(step.name))
        except BaseException as caught:  # noqa: BLE001 - reported by whoever stops the server; the next step is left
            error = caught if isinstance(caught, Exception) else RuntimeError(f"raised {caught!r}")
            error.add_note(f"raised by the step {step.name!r} of the stop")
            self.errors.append(error)


def take_back_cancellation() -> None:
    """Ends the cancelled state of the current task, which goes on to release what it holds.

    In that state, ``asyncio.timeout`` of Python 3.11.2, which Debian 12 has, takes its own limit for a cancellation.
    """
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass
