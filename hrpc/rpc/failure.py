"""What a client is told when a handler fails: never the exception's own words, always an id to look up in the log."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import grpc
import grpc.aio
from loguru import logger

from hrpc.errors import ConsulUnreachable, DatabaseUnavailable, ServiceNotFound
from hrpc.rpc.call import Call

_UNAVAILABLE = (DatabaseUnavailable, ServiceNotFound, ConsulUnreachable)

# A handler is cancelled both when the client goes away and when the deadline passes. gRPC does not say which; the
# cancellation of the client itself overtakes the server's own clock by a few milliseconds.
_DEADLINE_MARGIN = 0.05


class Failures:
    """Tells what a failure means; logs the ones that are not the handler's own answer."""

    def __init__(self, unavailable: Callable[[BaseException], str | None]) -> None:
        """`unavailable` names the database that is away, for a driver's error that says so."""
        self._unavailable = unavailable

    def status(self, error: BaseException, call: Call) -> tuple[grpc.StatusCode, str]:
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
