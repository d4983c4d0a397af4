"""What a server is doing at this moment, for the log: calls, tasks, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from loguru import logger

from hrpc import _runtime
from hrpc.server import in_flight, stacks
from hrpc.server.parts import Parts

MOST = 64 * 1024
"""Characters that are told at most."""


class Activity:
    """Tells of one running server; in any thread, also while its event loop is stuck."""

    def __init__(self, parts: Parts) -> None:
        """To be made in the event loop of the server."""
        self._parts = parts
        self._loop = asyncio.get_running_loop()

    def tell(self, reason: str, level: str = "WARNING") -> None:
        """Logs it: a line with the numbers, then one for each method with calls in flight, and for each place in the
        code where tasks or threads are."""
        token = _runtime.enter_thread(self._parts.runtime)
        try:
            for line in self.lines():
                logger.log(level, "{}: {}: {}", self._parts.name, reason, line)
        finally:
            _runtime.leave_thread(token)

    def lines(self) -> list[str]:
        """The same as texts; what would be more than anybody reads is cut."""
        calls = in_flight.in_flight(self._parts.calls)
        tasks, threads = stacks.of_tasks(self._loop), stacks.of_threads()
        numbers = [sum(row.calls for row in calls), *(sum(one.number for one in found) for found in (tasks, threads))]
        head = "{} calls in flight, {} tasks, {} threads".format(*numbers)
        return [head, *_cut([*in_flight.lines(calls), *map(str, threads), *map(str, tasks)])]


def _cut(texts: list[str]) -> Iterator[str]:
    left = MOST
    for number, text in enumerate(texts):
        if len(text) > left:
            yield f"… {len(texts) - number} more are left out"
            return
        left -= len(text)
        yield text
