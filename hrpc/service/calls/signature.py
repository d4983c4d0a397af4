"""Which method is called, and how its messages are written and read."""

from __future__ import annotations

from typing import Any, NamedTuple


class Signature(NamedTuple):
    """What grpc.aio needs to make calls of a method."""

    kind: str
    path: str
    serializer: Any = None
    deserializer: Any = None
    registered: bool = False
