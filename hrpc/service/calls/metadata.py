"""What goes along with a call, in the form that costs grpc.aio least."""

from __future__ import annotations

from collections.abc import Iterator

import grpc.aio

Pair = tuple[str, str | bytes]


class Pairs(grpc.aio.Metadata):
    """Goes through grpc.aio as it is, which makes a mapping of a tuple, or of nothing, and a tuple of that again.

    Only for what is known to be pairs: whoever gives something else hears of it when the mapping is made.
    """

    def __init__(self, *pairs: Pair) -> None:
        self._pairs = pairs

    def __bool__(self) -> bool:
        return True  # what is false is replaced

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)


NONE = Pairs()
