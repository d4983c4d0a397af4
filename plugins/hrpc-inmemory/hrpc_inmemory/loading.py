"""Loads that run: one for a key, whoever waits for it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, TypeAlias, TypeVar

from loguru import logger

from hrpc import context
from hrpc_inmemory.errors import LoadCancelled, LoadTimeout

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Loader: TypeAlias = "Callable[[K], Awaitable[V]]"


class Load(Generic[K, V]):
    """A loader that runs in a task of its own: whoever began it may leave."""

    def __init__(
        self, place: str, key: K, loader: Loader[K, V], limit: float | None, ended: Callable[[Load[K, V]], None]
    ) -> None:
        """`place` is for errors. `ended` is called in the event loop before those who wait go on."""
        self.key = key
        self.waiting = 0
        self.value: V
        self.error: Exception | None = None
        self.traceback: TracebackType | None = None
        self.is_cancelled = False
        self._place = place
        self._limit = limit
        self._ended = ended
        self._has_begun = False
        self.task = asyncio.create_task(self._run(loader), name=place)
        self.task.add_done_callback(self._never_begun)

    async def result(self) -> V:
        """What the loader gives or raises. Who is cancelled here leaves the load, and others who wait, as they are."""
        if self.task is asyncio.current_task():
            raise RuntimeError(f"{self._place}: the loader of a value waits for the same value, which never comes")
        self.waiting += 1
        try:
            await asyncio.wait({self.task})
        finally:
            self.waiting -= 1
        if self.is_cancelled:
            raise LoadCancelled(f"{self._place}: the loader was cancelled, by itself or because the server stops")
        if self.error is not None:
            raise self.error.with_traceback(self.traceback)  # each who waits would else make it longer for the others
        return self.value

    def _never_begun(self, _: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step does nothing at all."""
        if not self._has_begun:
            self.is_cancelled = True
            self._ended(self)

    async def _run(self, loader: Loader[K, V]) -> None:
        self._has_begun = True
        try:
            with _apart():
                self.value = await self._loaded(loader)
            self._ended(self)
        except asyncio.CancelledError:
            self.is_cancelled = True
            self._ended(self)
            raise
        except Exception as error:  # noqa: BLE001 - raised to those who wait, and logged when nobody does
            self.error, self.traceback = error, error.__traceback__
            self._ended(self)
            if not self.waiting:
                logger.opt(exception=error).warning(
                    "{}: a value could not be loaded, and nobody waits for it", self._place
                )
        except BaseException as error:
            # The event loop ends by it; and who waits in the last steps of a server is not left without an answer.
            self.error = RuntimeError(f"{self._place}: the loader raised {error!r}")
            self._ended(self)
            raise

    async def _loaded(self, loader: Loader[K, V]) -> V:
        try:
            async with asyncio.timeout(self._limit) as limited:
                return await loader(self.key)
        except TimeoutError as error:
            if not limited.expired():
                raise
            raise LoadTimeout(f"{self._place}: no value was loaded within {self._limit:g} s (load_limit)") from error


@contextmanager
def _apart() -> Iterator[None]:
    """The trace of whoever began the load, without the deadline and the identity: others wait for it as well."""
    current = context.current()
    if current is None:
        yield
        return
    apart = copy.copy(current)
    apart.deadline = apart.identity = None
    with context.entered(apart):
        yield
