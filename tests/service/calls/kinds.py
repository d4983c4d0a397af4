"""Calls of all four kinds, and a peer that answers, fails or waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from tests.echo import SERVICE

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


class Peer:
    """Serves each kind by three methods: one that answers, one that fails and one that waits until it is cancelled."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.cancelled = asyncio.Semaphore(0)
        self.metadata: list[dict[str, Any]] = []

    async def _begin(self, requests: Any, context: Any) -> None:
        if not isinstance(requests, bytes):
            async for _ in requests:
                pass
        self.metadata.append(dict(context.invocation_metadata()))
        await context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last", "2"),))

    async def _wait(self) -> None:
        self.entered.release()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.release()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        async def one(requests: Any, context: Any) -> bytes:
            await self._begin(requests, context)
            return b"x"

        async def many(requests: Any, context: Any) -> AsyncIterator[bytes]:
            await self._begin(requests, context)
            for _number in range(2):
                yield b"x"

        async def fail(requests: Any, context: Any) -> bytes:
            await self._begin(requests, context)
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "too far", (("last", "3"),))
            return b""

        async def fail_many(requests: Any, context: Any) -> AsyncIterator[bytes]:
            await fail(requests, context)
            yield b""

        async def wait(_: Any, __: Any) -> bytes:
            await self._wait()
            return b""

        async def wait_many(_: Any, __: Any) -> AsyncIterator[bytes]:
            await self._wait()
            yield b""

        found = {}
        for kind in KINDS:
            make = getattr(grpc, f"{kind}_rpc_method_handler")
            is_many = kind.endswith("_stream")
            found[f"{kind}-ok"] = make(many if is_many else one)
            found[f"{kind}-fail"] = make(fail_many if is_many else fail)
            found[f"{kind}-wait"] = make(wait_many if is_many else wait)
        return found


def begin(channel: grpc.aio.Channel, kind: str, what: str, **named: Any) -> Any:
    """Calls the method of that kind that does `what`: ``ok``, ``fail`` or ``wait``."""
    request = iter([b"a"]) if kind.startswith("stream") else b"a"
    return getattr(channel, kind)(f"/{SERVICE}/{kind}-{what}")(request, **named)


async def all_of(made: Any) -> bytes:
    """All responses of a call, one after the other."""
    if hasattr(made, "__aiter__"):
        return b"".join([part async for part in made])
    answer: bytes = await made
    return answer
