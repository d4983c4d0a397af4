"""Handlers that answer nothing: what was asked for does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from hrpc.errors import NotFound
from hrpc.rpc.call import Call


def or_not_found(body: Callable[[Any, Call], Awaitable[Any]]) -> Callable[[Any, Call], Awaitable[Any]]:
    """The same handler of one response, which raises `NotFound` instead of giving None without a status."""

    async def found(request: Any, call: Call) -> Any:
        response = await body(request, call)
        if response is None and call.code() in (None, grpc.StatusCode.OK):
            raise NotFound
        return response

    return found
