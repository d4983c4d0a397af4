"""What a client is told when a handler fails: the error that was raised for it, else never the exception's own words.

An id to look up in the log always goes along.
"""

from __future__ import annotations

import asyncio
import errno
import math
import secrets
from collections.abc import Callable

import grpc
import grpc.aio
from loguru import logger

from hrpc.errors import (
    CallError,
    ConsulUnreachable,
    DatabaseUnavailable,
    QueueUnavailable,
    ServiceNotFound,
    UniqueIdError,
)
from hrpc.rpc.call import Call
from hrpc.rpc.deadline import DeadlinePassed
from hrpc.rpc.error_details import ROOM, Encoder, size_of
from hrpc.rpc.upstream_error import STATUS_DETAILS
from hrpc.status import RETRY_PUSHBACK

Metadata = tuple[tuple[str, str | bytes], ...]
_Status = tuple[grpc.StatusCode, str, Metadata]  # with the message and the encoded details

# What is the service's own fault, also when it says so itself, has to be in its log.
_FAULTS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_UNAVAILABLE = (DatabaseUnavailable, QueueUnavailable, ServiceNotFound, ConsulUnreachable)

# A handler is cancelled both when the client goes away and when the deadline passes. gRPC does not say which; the
# cancellation of the client itself overtakes the server's own clock by a few milliseconds.
_DEADLINE_MARGIN = 0.05


class UnreadableRequest(Exception):
    """The bytes of a request are not a message of its type; the cause says why."""


class Unwanted(asyncio.CancelledError):
    """Nobody takes further responses of a stream. A coroutine that awaits anything ends at this, and not at a
    GeneratorExit."""


class Failures:
    """Tells what a failure means; logs the ones that are not the handler's own answer."""

    def __init__(self, unavailable: Callable[[BaseException], str | None], details: Encoder) -> None:
        """`unavailable` names the database that is away, for a driver's error that says so."""
        self._unavailable = unavailable
        self._details = details

    def status(self, error: BaseException, call: Call) -> tuple[grpc.StatusCode, str, Metadata]:
        """The code, the details and the trailing metadata to abort this call with.

        The code is left in `call` as well, and in its `failure` what is known of the error, also what is hidden from
        the caller. Raises what is to be raised instead: the engine's own error after an abort of the handler's, or
        `error` itself when it is the end of the call.
        """
        if call.aborted:
            # Whatever has become of the handler since then: it is this that the client gets.
            call.status = call.code() or grpc.StatusCode.UNKNOWN
            raise call.abort_error or asyncio.CancelledError from None
        if isinstance(error, DeadlinePassed):
            call.status, call.failure = grpc.StatusCode.DEADLINE_EXCEEDED, str(error)
            return call.status, call.failure, ()
        if isinstance(error, GeneratorExit | Unwanted):
            call.status = grpc.StatusCode.CANCELLED
            raise error
        is_gone = _is_client_gone(error)
        if is_gone or (isinstance(error, asyncio.CancelledError) and _task_is_cancelled()):
            remaining = call.time_remaining()
            late = remaining is not None and remaining < _DEADLINE_MARGIN
            call.status = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            if is_gone:
                raise asyncio.CancelledError from None
            raise error
        metadata = _set_by_handler(call)
        status, failure = self._told(error, call.method, ROOM - size_of(metadata))
        call.status, message, details = status
        call.failure = failure
        return call.status, message, (*metadata, *details)

    def _told(self, error: BaseException, method: str, room: int) -> tuple[_Status, str]:
        for_caller = _for_caller(error)
        if for_caller is None:
            status = self._not_for_caller(error, method)
            return status, status[1]
        try:
            message, encoded = self._details.encode(for_caller, room)
            details = ((STATUS_DETAILS, encoded), *_pushback(for_caller))
            failure = str(for_caller)
            if for_caller.grpc_code in _FAULTS:
                log = logger.bind(error_id=for_caller.id).opt(exception=error)
                log.error("{} failed with {} (error id {})", method, failure, for_caller.id)
        except Exception as fault:  # noqa: BLE001 - a class may have made of its fields what cannot be sent
            status = self._not_for_caller(fault, method)
            return status, status[1]
        return (for_caller.grpc_code, message, details), failure

    def _not_for_caller(self, error: BaseException, method: str) -> _Status:
        error_id = secrets.token_hex(6)
        log = logger.bind(error_id=error_id)
        away = self._unavailable(error)
        if away is None and _is_upstream_away(error):
            away = "an upstream"
        if isinstance(error, UniqueIdError):
            away = "the source of unique ids"
        if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            log.warning(
                "{} failed, an upstream did not answer in time: {} (error id {})", method, _words(error), error_id
            )
            code, name, message = error.code(), "DeadlineExceeded", "an upstream did not answer in time"
        elif isinstance(error, UnreadableRequest):
            log.warning("{} failed, its request is not a message of its type: {!r}", method, error.__cause__)
            code, name, message = grpc.StatusCode.INTERNAL, "Internal", "the request is not a message of its type"
        elif away is not None:
            log.warning("{} failed, {} is unavailable: {} (error id {})", method, away, _words(error), error_id)
            code, name, message = grpc.StatusCode.UNAVAILABLE, "Unavailable", f"{away} is unavailable"
        elif _is_exhausted(error):
            log.opt(exception=error).error(
                "{} failed, this process has reached a limit (error id {})", method, error_id
            )
            code, name, message = grpc.StatusCode.RESOURCE_EXHAUSTED, "ResourceExhausted", "the server is overloaded"
        else:
            # The words of an exception can hold secrets, and mean nothing to the caller.
            log.opt(exception=error).error("{} failed with {} (error id {})", method, type(error).__name__, error_id)
            code, name, message = grpc.StatusCode.INTERNAL, "Internal", "internal error"
        message = f"{message} (error id {error_id})"
        return code, message, ((STATUS_DETAILS, self._details.neutral(code, message, name, error_id)),)


def _pushback(error: CallError) -> Metadata:
    # What a client waits for is a signed number of 32 bits.
    if error.retry_after is None or error.retry_after > 2**31 / 1000 - 1:
        return ()
    return ((RETRY_PUSHBACK, str(math.ceil(error.retry_after * 1000))),)


def _for_caller(error: BaseException) -> CallError | None:
    """The error that the handler has raised for its caller, also out of a task group."""
    if isinstance(error, CallError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [_for_caller(each) for each in error.exceptions]
        return found[0] if all(found) else None
    return None


def _set_by_handler(call: Call) -> Metadata:
    # An abort with metadata of its own replaces what the handler has set.
    if (metadata := getattr(call, "trailing_metadata", None)) is None:
        return ()
    return tuple((key, value) for key, value in metadata() or () if key != STATUS_DETAILS)


def _words(error: BaseException) -> str:
    # As text grpc.aio's own error is a drawing of several lines.
    return error.details() or "" if isinstance(error, grpc.aio.AioRpcError) else str(error)


def _is_client_gone(error: BaseException) -> bool:
    # A response that grpc.aio could not send; it may say so before it cancels the handler. What it could not even begin
    # to send, such as a second response at the same time, is a mistake of the handler's, and begins otherwise.
    return isinstance(error, grpc.aio.InternalError) and str(error).startswith('Failed "execute_batch"')


def _is_upstream_away(error: BaseException) -> bool:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return isinstance(error, _UNAVAILABLE)


def _is_exhausted(error: BaseException) -> bool:
    # No memory, and no descriptor for a further file or connection, are no fault of this call's.
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _EXHAUSTED)


def _task_is_cancelled() -> bool:
    # A handler may let a CancelledError of some other future escape; grpc.aio would never answer such a call.
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0
