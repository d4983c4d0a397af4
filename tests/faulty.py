"""A fault in one step of a life, whichever steps there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Literal, NamedTuple, get_args

from hrpc.server.steps import Steps

AtStart = Literal["fails", "waits"]
AtStop = Literal["raises", "hangs", "swallows", "blocks"]
FOREVER = 3600.0


class Step(NamedTuple):
    """The names of a step at the start and in the stop, and whether the limit of a step holds for its leaving."""

    start: str
    stop: str
    limited: bool


class Faulty:
    """A step that does what it has to do, and has a fault beside.

    At the start it ``fails`` or ``waits`` for ever, instead of acquiring something; in the stop it has released
    what it holds, and then ``raises``, ``hangs``, ``swallows`` its cancellation as well, or ``blocks`` the event loop.
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
        await self._step.__aexit__(*error)
        if self._fault in get_args(AtStop):
            self._told()
        if self._fault == "raises":
            raise ZeroDivisionError("as the test wants it")
        if self._fault == "blocks":
            time.sleep(FOREVER)  # noqa: ASYNC251 - this is the fault
        if self._fault == "hangs":
            await asyncio.Event().wait()
        while self._fault == "swallows":
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


def faulty(
    fault: AtStart | AtStop | None,
    at: str,
    entered: Callable[[Step], None] = lambda _: None,
    told: Callable[[], None] = lambda: None,
) -> Callable[..., Awaitable[Any]]:
    """Takes the place of ``Steps.enter``: the step of this name has the fault. Tells of each step that is entered, and
    of the fault when its time has come."""
    right = Steps.enter

    async def enter(
        self: Steps, name: str | None, manager: Any, *, leaving: str | None = None, limited: bool = True, **more: Any
    ) -> Any:
        step = Step(name or leaving or "", leaving or name or "", limited)
        entered(step)
        if at == (step.start if fault in get_args(AtStart) else step.stop):
            manager = Faulty(manager, fault or "", told)
        return await right(self, name, manager, leaving=leaving, limited=limited, **more)

    return enter
