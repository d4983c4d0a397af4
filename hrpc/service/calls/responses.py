"""The calls with one response, and those with many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import grpc.aio

from hrpc.service.calls.attempt import Attempt
from hrpc.service.calls.call import Call


class OneResponse(Call):
    """A call that is awaited."""

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            while True:
                if self._pending is not None:
                    yield from asyncio.shield(self._pending).__await__()
                    continue
                attempt = self._attempt
                if attempt is None or self._error is not None:
                    raise self._failure()
                attempt.is_awaited = True
                try:
                    response = yield from attempt.real.__await__()
                except BaseException as error:
                    attempt.failed()
                    if not isinstance(error, grpc.aio.AioRpcError):
                        raise
                    if self._is_settled(attempt):
                        raise self._failure(error) from None
                else:
                    attempt.end()
                    return response
        except BaseException:
            self.cancel()  # as grpc.aio does when whoever awaits it is cancelled
            raise


class ManyResponses(Call):
    """A call that is iterated, or read from."""

    _seen: Attempt | None = None
    """The attempt of which the caller has seen something."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            before = _cancels()
            attempt = await self._taken()
            try:
                async for response in attempt.real:
                    if self._seen is not attempt:
                        self._settle(attempt)
                    yield response
            except grpc.aio.AioRpcError as error:
                self._keep_cancel(before)
                if self._is_settled(attempt):
                    raise self._failure(error) from None
            except asyncio.CancelledError:
                self.cancel()  # between two attempts grpc.aio has nothing to cancel
                raise
            else:
                return

    async def read(self) -> Any:
        """The next response, or ``grpc.aio.EOF``."""
        while True:
            before = _cancels()
            attempt = await self._taken()
            try:
                response = await attempt.real.read()
            except grpc.aio.AioRpcError as error:
                self._keep_cancel(before)
                if self._is_settled(attempt):
                    raise self._failure(error) from None
            except asyncio.CancelledError:
                self.cancel()
                raise
            else:
                if self._seen is not attempt and response is not grpc.aio.EOF:
                    self._settle(attempt)
                return response

    async def _taken(self) -> Attempt:
        """The attempt to read from. Raises what the call has ended with instead."""
        try:
            attempt = await self._begun()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if attempt is None:
            raise self._failure()
        return attempt

    def _keep_cancel(self, before: int) -> None:
        """Raises the cancel that grpc.aio has swallowed, if any since there had been so many.

        It awaits a task of its own, which takes the cancel for itself; when the attempt has failed in the same moment,
        what it raises is that failure, and the call would go on with the next attempt.
        """
        if _cancels() > before:
            self.cancel()
            raise asyncio.CancelledError

    def _may_repeat(self) -> bool:
        return self._seen is None and super()._may_repeat()

    def _settle(self, attempt: Attempt) -> None:
        self._seen = attempt
        if self._is_settled(attempt):
            return
        # A response came out together with the failure behind it, for which a further attempt was arranged.
        other, self._attempt, self._error = self._attempt, attempt, None
        if other is not None and other is not attempt:
            other.real.cancel()
        if attempt.real.done():
            self._finish()
        else:
            self._disarm()
            self._resume()


def _cancels() -> int:
    """How often the current task has been asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
