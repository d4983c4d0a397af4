"""What goes along with a call, in the form that costs grpc.aio least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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

    def __getattr__(self, name: str) -> Any:
        if name != "_metadata":
            raise AttributeError(name)
        # The mapping of its base class: somebody looks for a key or adds one, as interceptors do that others have put
        # into every channel. From here on it is as any other.
        self.__class__ = grpc.aio.Metadata  # type: ignore[assignment]
        self.__init__(*self._pairs)  # type: ignore[misc]
        return self._metadata
