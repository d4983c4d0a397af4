"""The calls whose requests are a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import grpc.aio

from hrpc.service.calls.call import Call


class Replay:
    """The requests of a stream; each attempt has them from the first one, as long as there is no second."""

    def __init__(self, requests: Any) -> None:
        is_async = isinstance(requests, AsyncIterable)
        self._rest = aiter(requests) if is_async else _asynchronous(iter(requests))
        self._first: list[Any] = []
        self._newest: object = None
        self._taking = asyncio.Lock()
        self.is_at_first = True
        """Whether the second request has not been asked for."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        """All of them, for the newest attempt. What the one before still waits for goes to this one."""
        own = self._newest = object()
        async with self._taking:
            if own is self._newest and not self._first:
                try:
                    self._first.append(await anext(self._rest))
                except StopAsyncIteration:
                    return
        if own is not self._newest:
            return
        yield self._first[0]
        if own is not self._newest:
            return
        self.is_at_first = False
        self._first.clear()
        async for request in self._rest:
            yield request


async def _asynchronous(requests: Any) -> AsyncIterator[Any]:
    for request in requests:
        yield request


class ManyRequests(Call):
    """A call whose requests come from an iterator, or are written to it."""

    _wrote = False
    _replay: Replay | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if self.request is not None and self._method.retries.attempts > 1:
            self.request = self._replay = Replay(self.request)

    async def write(self, request: Any) -> None:
        """Sends a request."""
        await self._written("write", request)

    async def done_writing(self) -> None:
        """Says that there will be no further request."""
        await self._written("done_writing")

    async def _written(self, how: str, *request: Any) -> None:
        while True:
            attempt = await self._begun()
            if attempt is None:
                raise self._failure()
            try:
                await getattr(attempt.real, how)(*request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                if self._is_settled(attempt):
                    raise self._failure(error) if isinstance(error, grpc.aio.AioRpcError) else error from None
            else:
                if self._is_settled(attempt):
                    self._wrote = True
                    return

    def _may_repeat(self) -> bool:
        is_at_first = not self._wrote if self._replay is None else self._replay.is_at_first
        return is_at_first and super()._may_repeat()
