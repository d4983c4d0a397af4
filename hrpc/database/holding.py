"""Who has borrowed connections, and since when: what the error of a full pool tells."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from heapq import nsmallest

from hrpc import context

_TOLD = 3
"""How many are told of: those who hold a connection for the longest time."""


class Holder:
    """Who has a connection: the task, and the call that it serves, if any."""

    __slots__ = ("context", "since", "task")

    def __init__(self, since: float) -> None:
        """`since` is in seconds of the event loop's clock."""
        self.task = asyncio.current_task()
        self.context = context.current()
        self.since = since

    @property
    def name(self) -> str:
        """The method of the call; without one the task, by its own name or by its function."""
        if self.context is not None and self.context.method:
            return self.context.method
        if self.task is None:
            return "no task"
        name = self.task.get_name()
        # "Task-7" is what asyncio calls those that nobody has named.
        return getattr(self.task.get_coro(), "__qualname__", name) if name.startswith("Task-") else name

    def told(self, now: float) -> str:
        """Who, for how long, and the trace in which the rest can be found."""
        trace = "" if self.context is None else f" (trace {self.context.trace_id})"
        return f"{self.name} for {now - self.since:.1f} s{trace}"


def told(holders: Iterable[Holder | None], now: float) -> str:
    """``, held by /shop.Orders/Get for 3.0 s (trace 4bf9…), …``: those who do for the longest time."""
    longest = nsmallest(_TOLD, (one for one in holders if one is not None), key=lambda one: one.since)
    return ", held by " + ", ".join(one.told(now) for one in longest) if longest else ""
