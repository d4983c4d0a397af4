"""The events by which an application learns that its server starts and stops
(https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from hrpc import HrpcError

Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
App: TypeAlias = "Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]"


class LifespanError(HrpcError):
    """An application said that its startup or shutdown failed."""


@asynccontextmanager
async def started(app: App) -> AsyncIterator[dict[str, Any]]:
    """Starts an application, gives what it wants to have in ``request.state``, and shuts it down at the end.

    One that knows no such events is left alone. Raises what its startup and its shutdown raise, and `LifespanError`
    when it only says that one of them failed.
    """
    state: dict[str, Any] = {}
    events: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    running: asyncio.Task[None] = asyncio.ensure_future(app(scope, events.get, answers.put))
    try:
        knows = await _asked("startup", running, events, answers)
        try:
            yield state
        finally:
            if knows:
                await _asked("shutdown", running, events, answers)
    finally:
        running.cancel()
        await asyncio.wait({running})


async def _asked(
    what: str, running: asyncio.Task[None], events: asyncio.Queue[Message], answers: asyncio.Queue[Message]
) -> bool:
    """Whether the application has answered; one that ends or fails instead of it does not know the event."""
    events.put_nowait({"type": f"lifespan.{what}"})
    answering = asyncio.create_task(answers.get())
    try:
        await asyncio.wait({running, answering}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            if what == "shutdown":
                running.result()
            return False
        answer = answering.result()
    finally:
        answering.cancel()
    if answer["type"] == f"lifespan.{what}.failed":
        await asyncio.wait({running}, timeout=1.0)
        if running.done() and not running.cancelled() and (error := running.exception()) is not None:
            raise error
        raise LifespanError(f"the {what} of the application failed: {answer.get('message') or 'it does not say why'}")
    return True
