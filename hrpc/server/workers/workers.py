"""The workers of a master: what they are asked together, and what they say of themselves together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger

from hrpc.errors import WorkerError
from hrpc.server.workers.worker import State, Worker

Handler = Callable[[Worker, Any], Awaitable[Any]]
"""Answers a worker: takes it, and what it has asked."""


class Workers:
    """All that live; `hrpc.server.workers.supervision` keeps them alive."""

    def __init__(self, count: int) -> None:
        self.count = count
        """How many there are to be."""
        self.current: dict[int, Worker] = {}
        """The worker of each number, from 1 on; it may be starting, or have died."""
        self.all: set[Worker] = set()
        """Those that have not ended. Of two with one number, the newer one follows the other, which stops."""
        self.restarts = 0
        """How often a worker was begun in the place of one that had died."""
        self.when_begun: list[Callable[[Worker], None]] = []
        """Called with each worker that can be told something, before it says anything."""
        self.when_gone: list[Callable[[Worker], None]] = []
        """Called with each worker that has ended."""
        self.handlers: dict[str, Handler] = {"ready": _is_ready, "failed": _has_failed}

    def on(self, command: str, handler: Handler) -> None:
        """Answers what workers ask; for those that begin from now on."""
        self.handlers[command] = handler

    async def ask_all(self, command: str, argument: Any = None, timeout: float = 1.0) -> dict[int, Any]:
        """What the workers that serve answer, by number. Those that do not answer in time are missing, and logged."""
        serving = self.serving
        asked = (worker.link.ask(command, argument, timeout=timeout) for worker in serving)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found: dict[int, Any] = {}
        for worker, answer in zip(serving, answers, strict=True):
            if isinstance(answer, WorkerError):
                logger.warning("{}", answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[worker.number] = answer
        return found

    def tell_all(self, command: str, argument: Any = None) -> None:
        """Says something to all that have not ended."""
        for worker in self.all:
            worker.link.tell(command, argument)

    def told(self) -> str:
        """How many of them serve."""
        return f"{len(self.serving)} of {self.count} serve"

    @property
    def serving(self) -> list[Worker]:
        """Those that take calls."""
        return [worker for worker in self.current.values() if worker.is_serving]


async def _is_ready(worker: Worker, _: Any) -> None:
    worker.enter(State.READY)


async def _has_failed(worker: Worker, reason: str) -> None:
    worker.failure = reason
