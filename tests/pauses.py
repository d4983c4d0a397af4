"""Pauses that a test only looks at."""

from __future__ import annotations

from typing import Any


class Pauses(list[float]):
    """In the place of the module `random`, of code that varies its pauses by ``pause * random.uniform(…)``: keeps them,
    and makes none."""

    def uniform(self, *_: float) -> Pauses:
        return self

    def __rmul__(self, pause: Any) -> Any:
        self.append(pause)
        return 0
