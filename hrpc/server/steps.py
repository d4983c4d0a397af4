"""The steps of a life: entered one after the other, left in reverse, each with its time and its own error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple

from hrpc.errors import StartError, StepInterrupted, StepTimeout
from hrpc.server.progress import StartProgress, Timeline


class Step(NamedTuple):
    """One step of a life: how it is entered, and what it is called when it is left.

    A step without a `name` does nothing at the start and is not counted there; one whose `leaving` is empty does
    nothing in the stop. When it is not `limited`, its leaving has waits and limits of its own.
    """

    name: str | None
    make: Callable[[], AbstractAsyncContextManager[object]]
    leaving: str | None = None
    limited: bool = True

    @property
    def left_as(self) -> str:
        """Its name in the stop."""
        return self.leaving if self.leaving is not None else self.name or ""


class _Entered(NamedTuple):
    name: str
    manager: AbstractAsyncContextManager[object]
    limit: float | None


class Steps:
    """Enters async context managers; leaves all of them, whatever one of them does."""

    def __init__(self, limit: float, progress: StartProgress) -> None:
        """`limit`: seconds that a step has for leaving, when it is given none of its own."""
        self._limit = limit
        self._entered: list[_Entered] = []
        self.start = progress
        self.stop = Timeline()
        self.errors: list[Exception] = []

    async def enter_all(self, steps: Sequence[Step]) -> None:
        """Enters the steps, first one first. Raises the `StartError` of the first that fails."""
        self.start.count = sum(step.name is not None for step in steps)
        for step in steps:
            with nullcontext() if step.name is None else self.start.taking(step.name):
                await self._enter(step)
        self.start.finished = True

    async def _enter(self, step: Step) -> None:
        try:
            manager = step.make()
            await manager.__aenter__()
        except Exception as error:
            raise StartError(step.name or step.left_as, error, self.start.place) from error
        self._entered.append(_Entered(step.left_as, manager, self._limit if step.limited else None))

    async def leave_all(self, expect: Callable[[str, float], None], most: float) -> None:
        """Leaves the steps, last one first; what goes wrong is put into `errors`.

        `expect` is told of each, with the seconds that it may take; `most` are those of a step that has no limit here.
        """
        self.stop = Timeline()
        count = sum(bool(step.name) for step in self._entered)
        while self._entered:
            step = self._entered.pop()
            began = time.monotonic()
            if step.name:
                expect(step.name, most if step.limit is None else step.limit)
            await self._leave(step, f"step {len(self.stop.done) + 1}/{count}")
            if step.name:
                self.stop.add(step.name, began)

    async def _leave(self, step: _Entered, place: str) -> None:
        try:
            async with asyncio.timeout(step.limit) as limit:
                await step.manager.__aexit__(None, None, None)
        except TimeoutError as timeout:
            late = step.limit is not None and limit.expired()
            self.errors.append(StepTimeout(step.name, step.limit or 0.0, place) if late else timeout)
        except asyncio.CancelledError:
            # Another step's task group does this when a task of its crashes. What is left to release is released.
            take_back_cancellation()
            self.errors.append(StepInterrupted(step.name, place))
        except BaseException as caught:  # noqa: BLE001 - reported by whoever stops the server; the next step is left
            error = caught if isinstance(caught, Exception) else RuntimeError(f"raised {caught!r}")
            error.add_note(f"raised by [{place}] of the stop, {step.name}")
            self.errors.append(error)


def take_back_cancellation() -> None:
    """Ends the cancelled state of the current task, which goes on to release what it holds.

    In that state, ``asyncio.timeout`` of Python 3.11.2, which Debian 12 has, takes its own limit for a cancellation.
    """
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass
