"""A fault in one step of a life, whichever steps there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Literal, get_args

from hrpc.server.steps import Step, Steps

AtStart = Literal["fails", "waits"]
AtStop = Literal["raises", "hangs", "swallows", "blocks"]
FOREVER = 3600.0


class Faulty:
    """A step that does what it has to do, and has a fault beside.

    At the start it ``fails`` or ``waits`` for ever, instead of acquiring something; in the stop it ``hangs`` until it
    is cancelled, or it has released what it holds, and then ``raises``, ``swallows`` its cancellation, or ``blocks``
    the event loop.
    """

    def __init__(self, step: AbstractAsyncContextManager[Any], fault: str, told: Callable[[], None]) -> None:
        self._step = step
        self._fault = fault
        self._told = told

    async def __aenter__(self) -> Any:
        if self._fault == "fails":
            raise ZeroDivisionError("as the test wants it")
        if self._fault == "waits":
            self._told()
            await asyncio.Event().wait()
        return await self._step.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        if self._fault == "hangs":
            self._told()
            try:
                await asyncio.Event().wait()
            finally:
                # After its limit, which is short: what a busy machine needs for the release is not part of it.
                await self._step.__aexit__(*error)
        await self._step.__aexit__(*error)
        if self._fault in get_args(AtStop):
            self._told()
        if self._fault == "raises":
            raise ZeroDivisionError("as the test wants it")
        if self._fault == "blocks":
            time.sleep(FOREVER)  # noqa: ASYNC251 - this is the fault
        while self._fault == "swallows":
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


def faulty(
    fault: AtStart | AtStop | None,
    at: str,
    entering: Callable[[Sequence[Step]], None] = lambda _: None,
    told: Callable[[], None] = lambda: None,
    limit: float | None = None,
) -> Callable[..., Awaitable[None]]:
    """Takes the place of ``Steps.enter_all``: the step of this name has the fault. Tells of the steps before they are
    entered, and of the fault when its time has come. `limit`: seconds that this step alone has in the stop."""
    right = Steps.enter_all

    def with_fault(step: Step) -> Step:
        if fault is None or at != (name_at_start(step) if fault in get_args(AtStart) else step.left_as):
            return step
        return step._replace(make=lambda: Faulty(step.make(), fault, told))

    async def enter_all(self: Steps, steps: Sequence[Step]) -> None:
        entering(steps)
        await right(self, [with_fault(step) for step in steps])
        if limit is not None:
            self._entered[:] = [each._replace(limit=limit) if each.name == at else each for each in self._entered]

    return enter_all


def name_at_start(step: Step) -> str:
    """The name that an error of the start has for it."""
    return step.name or step.left_as
