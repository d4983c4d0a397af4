"""Deadlines that pass while a handler is at work, and not on the way to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest


async def missed(make: Callable[[float], Awaitable[Any]], at_work: Callable[[], Awaitable[bool]]) -> None:
    """Makes a call whose deadline passes. `at_work` tells afterwards whether the handler was: a busy machine may need
    all of a short deadline to connect, and so the call is made again with a longer one. Fails when none was enough."""
    for seconds in (0.2, 1.0, 5.0, 20.0):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await make(seconds)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if await at_work():
            return
    raise AssertionError("no call has reached its handler")
