"""Functions that are called when a value changes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from hrpc import _runtime, context, life
from hrpc.configs.key import NOTHING
from hrpc.errors import InvalidConfig

Handler = Callable[[Any], Any]


class Watching:
    """What ``configs.watch`` gives: `cancel` ends it, and so does the end of a ``with`` block."""

    def __init__(self, key: str, own: bool, handler: Handler, kind: Any) -> None:
        """`key` stands below the environment, or below the service when it is its `own`."""
        self.key = key
        self.own = own
        self.handler = handler
        self.kind = kind
        self.cancelled = False
        self.deliveries: set[Delivery] = set()

    def cancel(self) -> None:
        """Calls the handler no more; a call that is running goes on."""
        self.cancelled = True
        if self in _runtime.early_config_watches:
            _runtime.early_config_watches.remove(self)
        for delivery in list(self.deliveries):
            delivery.end()

    def __enter__(self) -> Watching:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class Source(Protocol):
    """What changes, such as a `Key`."""

    path: str
    refused: int
    failures: int
    callbacks: list[Callable[[], None]]


class Delivery:
    """Takes the changes of one source to one handler: one at a time, and of several that wait, the newest."""

    def __init__(self, watching: Watching, source: Source, now: Callable[[], Any]) -> None:
        """`now` gives the newest value, or `NOTHING`."""
        self._watching = watching
        self._source = source
        self._now = now
        self._told = self._newest = now()
        self._group: asyncio.TaskGroup | None = None
        self._running = False
        source.callbacks.append(self._changed)
        watching.deliveries.add(self)

    def begin(self, group: asyncio.TaskGroup) -> None:
        """From now on the handler is called, in tasks of this group."""
        self._group = group
        self._go()

    def end(self) -> None:
        """From now on the handler is called no more."""
        self._group = None
        if self in self._watching.deliveries:
            self._watching.deliveries.remove(self)
            self._source.callbacks.remove(self._changed)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self not in self._watching.deliveries

    def _changed(self) -> None:
        newest = self._now()
        # A text that was refused leaves the value as it was.
        if newest is not NOTHING:
            self._newest = newest
            self._go()

    def _go(self) -> None:
        if self._group is not None and not self._running and self._has_news():
            self._running = True
            self._group.create_task(self._run(), name=f"hrpc: handler of key {self._source.path!r}")

    def _has_news(self) -> bool:
        return type(self._newest) is not type(self._told) or self._newest != self._told

    async def _run(self) -> None:
        try:
            while self._group is not None and self._has_news():
                self._told = self._newest
                await self._call(self._told)
        finally:
            self._running = False

    async def _call(self, value: Any) -> None:
        from loguru import logger

        handler = self._watching.handler
        try:
            with context.background_context(timeout=None):
                await life.run_hook(functools.partial(handler, value))
        except InvalidConfig as error:
            self._source.refused += 1
            logger.error("{}; the value before it is kept", error)
        except Exception as error:  # noqa: BLE001 - told here; other handlers and the next change are not concerned
            self._source.failures += 1
            name = getattr(handler, "__qualname__", None) or repr(handler)
            logger.opt(exception=error).error("configs: handler {} of key {!r} failed", name, self._source.path)
