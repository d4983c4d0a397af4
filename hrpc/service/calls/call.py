"""The object that the caller of another service holds: one call, whatever attempts it takes.

While it has one attempt, which is nearly always, it only hands through what grpc.aio says of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from hrpc.rpc.upstream_error import error_of
from hrpc.service.calls.attempt import Attempt
from hrpc.service.calls.course import Course, error_with

_CANCELLED_HERE = "Locally cancelled by application!"


class Call(Course):
    """Made by a `Method`, which begins it with `start`. Has what grpc.aio's calls have."""

    def cancelled(self) -> bool:
        """Whether it was cancelled here."""
        if self._pending is not None or self._attempt is None or self._error is not None:
            return self._cancelled
        return bool(self._attempt.real.cancelled())

    def done(self) -> bool:
        """Whether it has ended."""
        if self._pending is not None:
            return False
        return self._error is not None or self._attempt is None or bool(self._attempt.real.done())

    def cancel(self) -> bool:
        """Ends all attempts; False when it has ended already."""
        if self.done():
            return False
        if self._pending is None:
            assert self._attempt is not None
            return bool(self._attempt.real.cancel())
        self._cancelled = True
        self._end(error_with(grpc.StatusCode.CANCELLED, _CANCELLED_HERE))
        return True

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Calls back with this object when it has ended; at once when it already has."""
        if self.done():
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> Any:
        """What the server has sent ahead; waits for it."""
        while True:
            attempt = await self._begun()
            if attempt is None:
                assert self._error is not None
                return self._error.initial_metadata()
            metadata = await attempt.real.initial_metadata()
            if not metadata and not attempt.is_connected():
                await attempt.real.code()  # it was not sent, and its status is on its way
            elif metadata and not attempt.real.done():
                self._settle(attempt)
            if self._is_settled(attempt):
                return metadata

    async def trailing_metadata(self) -> Any:
        """What the server has sent behind; waits for the end."""
        real = await self._ended()
        return self._error.trailing_metadata() if self._error is not None else await real.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        """The code of the status; waits for the end."""
        real = await self._ended()
        return self._error.code() if self._error is not None else await real.code()

    async def details(self) -> str | None:
        """The message of the status; waits for the end."""
        real = await self._ended()
        return self._error.details() if self._error is not None else await real.details()

    async def debug_error_string(self) -> str | None:
        """What gRPC knows beside the status; waits for the end."""
        real = await self._ended()
        return self._error.debug_error_string() if self._error is not None else await real.debug_error_string()

    async def wait_for_connection(self) -> None:
        """Waits until it is on its way to an instance; raises how it has failed otherwise."""
        while True:
            attempt = await self._begun()
            if attempt is None:
                raise self._failure()
            try:
                await attempt.real.wait_for_connection()
            except grpc.aio.AioRpcError as error:
                if self._is_settled(attempt):
                    raise self._failure(error) from None
            else:
                if self._is_settled(attempt):
                    return

    # For those who wait for it.

    async def _begun(self) -> Attempt | None:
        """The attempt that counts now; None when there is none, and there will not be one."""
        while self._pending is not None:
            await asyncio.shield(self._pending)
        return None if self._error is not None else self._attempt

    async def _ended(self) -> Any:
        """grpc.aio's call that counts, once all has ended; None when `_error` says how."""
        while (attempt := await self._begun()) is not None:
            await attempt.real.code()
            if self._is_settled(attempt):
                return attempt.real
        return None

    def _is_settled(self, attempt: Attempt) -> bool:
        """Whether no further attempt will take the place of this one."""
        return self._pending is None and self._attempt is attempt and self._error is None

    def _settle(self, attempt: Attempt) -> None:
        """The caller has seen something of this attempt: no other one can take its place any more."""

    def _failure(self, error: grpc.aio.AioRpcError | None = None) -> BaseException:
        """What to raise, when grpc.aio has said `error`."""
        if self._cancelled:
            return asyncio.CancelledError()
        found = self._error or error
        assert found is not None
        return error_of(found)
