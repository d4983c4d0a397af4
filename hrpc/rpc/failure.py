"""What a client is told when a handler fails: never the exception's own words, always an id to look up in the log."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
from loguru import logger

from hrpc.errors import ConsulUnreachable, DatabaseUnavailable, ServiceNotFound

_UNAVAILABLE = (DatabaseUnavailable, ServiceNotFound, ConsulUnreachable)

# A handler is cancelled both when the client goes away and when the deadline passes. gRPC does not say which; the
# cancellation of the client itself overtakes the server's own clock by a few milliseconds.
_DEADLINE_MARGIN = 0.05


class Guarded:
    """The handler's view of its call: all of grpc.aio's ``ServicerContext``, less what would leave it unanswered."""

    __slots__ = ("_aborted", "_call", "status")

    def __init__(self, call: Any) -> None:
        self._call = call
        self._aborted = False
        self.status = grpc.StatusCode.UNKNOWN

    @property
    def aborted(self) -> bool:
        """Whether the handler has ended the call itself."""
        return self._aborted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the call with this status. Raises ``grpc.aio.AbortError``, or ValueError for OK, which is no error."""
        self._before_abort(code)
        await self._call.abort(code, details, trailing_metadata)
        raise AssertionError("grpc.aio's abort returned")

    def _before_abort(self, code: grpc.StatusCode) -> None:
        if code in (grpc.StatusCode.OK, 0):
            raise ValueError("context.abort(OK): return a response instead")
        self._aborted = True


class GuardedInThread(Guarded):
    """The same for a handler that runs in a thread; grpc.aio's context for those cannot tell the code that was set."""

    __slots__ = ("_code",)

    def __init__(self, call: Any) -> None:
        super().__init__(call)
        self._code: grpc.StatusCode | None = None

    def code(self) -> grpc.StatusCode | None:
        """The code that the handler has set; None when it has set none."""
        return self._code

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets the code of the answer."""
        self._code = code
        self._call.set_code(code)

    def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the call with this status. Raises ``grpc.aio.AbortError``, or ValueError for OK, which is no error."""
        self._before_abort(code)
        self._code = code
        self._call.abort(code, details, trailing_metadata)
        raise AssertionError("grpc.aio's abort returned")


class Failures:
    """Tells what a failure means; logs the ones that are not the handler's own answer."""

    def __init__(self, unavailable: Callable[[BaseException], str | None]) -> None:
        """`unavailable` names the database that is away, for a driver's error that says so."""
        self._unavailable = unavailable

    def status(self, error: BaseException, call: Guarded) -> tuple[grpc.StatusCode, str]:
        """The code and the details to abort this call with, as left in ``call.status`` as well.

        Raises what is to be raised instead: `error` itself when it is the handler's abort or the end of the call.
        """
        if isinstance(error, grpc.aio.AbortError | GeneratorExit):
            call.status = call.code() or grpc.StatusCode.CANCELLED
            raise error
        if isinstance(error, asyncio.CancelledError) and _task_is_cancelled():
            remaining = call.time_remaining()
            late = remaining is not None and remaining < _DEADLINE_MARGIN
            call.status = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise error
        call.status, details = self._log(error)
        if call.aborted:
            call.status = call.code() or call.status
            raise grpc.aio.AbortError("failed after its abort") from error
        return call.status, details

    def _log(self, error: BaseException) -> tuple[grpc.StatusCode, str]:
        error_id = secrets.token_hex(6)
        log = logger.bind(error_id=error_id)
        name = self._unavailable(error)
        if name is None and _is_upstream_away(error):
            name = "an upstream"
        if name is not None:
            log.warning("call failed, {} is unavailable: {} (error id {})", name, error, error_id)
            return grpc.StatusCode.UNAVAILABLE, f"{name} is unavailable (error id {error_id})"
        # The words of an exception can hold secrets, and mean nothing to the caller.
        log.opt(exception=error).error("call failed with {} (error id {})", type(error).__name__, error_id)
        return grpc.StatusCode.INTERNAL, f"internal error (error id {error_id})"


def _is_upstream_away(error: BaseException) -> bool:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return isinstance(error, _UNAVAILABLE)


def _task_is_cancelled() -> bool:
    # A handler may let a CancelledError of some other future escape; grpc.aio would never answer such a call.
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0
