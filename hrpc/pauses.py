"""The pauses between attempts at what has failed."""

from __future__ import annotations

import random


class Pauses:
    """Pauses in seconds, of which each is twice as long as the one before, up to the longest.

    ::

        pauses = Pauses(0.1, 5.0)
        while not await connected():
            await asyncio.sleep(pauses.next())

    Half of each is at random, so that those who failed together do not come again together.
    """

    __slots__ = ("_first", "_longest", "_next")

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """The one to make now."""
        pause = self._next
        self._next = min(self._longest, pause * 2)
        return pause * random.uniform(0.5, 1.0)

    def begin_anew(self) -> None:
        """All is well: the next one is the first again."""
        self._next = self._first
