"""How a call goes: its attempts, one after the other, until one of them counts or there is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from hrpc.errors import BreakerOpen
from hrpc.service.balancing import Endpoint
from hrpc.service.calls.attempt import Attempt, Outcome

if TYPE_CHECKING:
    from hrpc.service.calls.method import Method


class Course:
    """All of it happens in callbacks, so that no task runs beside a call."""

    # Defaults of the class: a call sets what it has, and most have little.
    _deadline: float | None = None
    _patient = False
    """Whether it waits for an instance that is ready."""
    _key: str | None = None
    """What the balancer goes by."""
    _attempt: Attempt | None = None
    """The attempt that counts: the newest one, or the one that has won."""
    _tried: tuple[Endpoint, ...] = ()
    _pending: asyncio.Future[None] | None = None
    """There while something is to come that is not `_attempt`: a further one, or an instance."""
    _timer: asyncio.TimerHandle | None = None
    _error: grpc.aio.AioRpcError | None = None
    """How it ended, where that is not how an attempt ended."""
    _cancelled = False
    _callbacks: list[Callable[[Any], Any]] | None = None

    def __init__(
        self,
        method: Method,
        request: Any,
        timeout: float | None,
        metadata: Any,
        credentials: Any,
        wait_for_ready: bool | None,
        compression: Any,
    ) -> None:
        self._method = method
        self.request = request
        self.metadata = metadata
        self.credentials = credentials
        self.compression = compression
        if timeout is not None:
            self._deadline = time.monotonic() + timeout
        if wait_for_ready:
            self._patient = True
        if metadata is not None:
            self._key = method.key_in(metadata)

    def start(self, timeout: float | None) -> None:
        """Begins the first attempt, which has `timeout` seconds, or waits for an instance."""
        method = self._method
        endpoint = method.balancer.pick(self._key)
        if endpoint is None:
            self._await_instance()
            return
        try:
            self._attempt = Attempt(self, method, endpoint, timeout)
        except BreakerOpen as error:
            self._refuse(error)
        else:
            self._tried = (endpoint,)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None when there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def ended(self, attempt: Attempt, outcome: Outcome | None) -> bool:
        """An attempt has ended; without an `outcome` it was answered. Tells whether the call goes on without it."""
        if attempt is not self._attempt or self._cancelled:
            return False
        if outcome is not None and not outcome.cancelled_here:
            if self._again(attempt, outcome):
                return True
            self._explain(outcome)
        if self._pending is not None or self._callbacks is not None:
            self._finish()
        return False

    def arrived(self) -> None:
        """The list of instances has changed, while it waits for one."""
        self._context.run(self._look)

    def _look(self) -> None:
        channel = self._method.channel
        if self._method.balancer.endpoints:
            self._disarm()
            self._go_on()
        elif not self._waits():
            self._refuse(channel.unavailable())

    def _explain(self, outcome: Outcome | None) -> None:
        """Says more of the failure than gRPC, which knows of one instance only."""
        if outcome is not None and outcome.unsent:
            self._error = self._method.channel.unreachable(outcome.details)
        elif outcome is not None and outcome.refused and outcome.code is grpc.StatusCode.CANCELLED:
            # As gRPC words it, the caller would take it for a call that it has cancelled itself.
            self._error = self._method.channel.turned_away(outcome.details)

    # One attempt after the other.

    def _may_repeat(self) -> bool:
        """Whether what the caller has seen and given until now leaves a further attempt possible."""
        return True

    def _again(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Arranges for a further attempt, if there is to be one."""
        method, tried = self._method, self._tried
        if not self._may_repeat():
            return False
        others = len(method.balancer.endpoints) > len(tried)
        pause = method.retries.pause(
            outcome, attempt, len(tried), others=others, patient=self._patient, deadline=self._deadline
        )
        if pause is None:
            return False
        loop = asyncio.get_running_loop()
        if self._pending is None:
            self._pending = loop.create_future()
        self._timer = loop.call_later(pause, self._go_on)
        return True

    def _go_on(self) -> None:
        """Begins the next attempt, at another instance where there is one."""
        method, self._timer = self._method, None
        endpoint = method.balancer.pick(self._key, self._tried)
        if endpoint is None:
            self._await_instance()
            return
        try:
            attempt = Attempt(self, method, endpoint, self.time_remaining())
        except (BreakerOpen, grpc.aio.UsageError) as error:  # the latter of a connection that is closed
            if self._attempt is None:
                self._refuse(error if isinstance(error, BreakerOpen) else method.channel.unavailable())
            else:
                self._finish()  # with what the attempt before has said
            return
        except Exception as error:  # noqa: BLE001 - of arguments that are wrong: nobody but its caller is to hear of it
            self._refuse(error_with(grpc.StatusCode.INTERNAL, f"the call cannot be made: {error!r}"))
            return
        if self._attempt is not None:
            method.counts.retries += 1
        self._attempt = attempt
        self._tried = (*self._tried, endpoint)
        self._resume()

    def _await_instance(self) -> None:
        channel = self._method.channel
        if not self._waits():
            self._refuse(channel.unavailable())
            return
        limit = self.time_remaining()
        if not self._patient:
            longest = channel.first_answer_limit()
            limit = longest if limit is None else min(limit, longest)
        loop = asyncio.get_running_loop()
        if self._pending is None:
            self._pending = loop.create_future()
        # Whoever brings the instances knows nothing of the request that is being served here.
        self._context: Context = copy_context()
        channel.waiting.add(self)
        if limit is not None:
            self._timer = loop.call_later(limit, self._waited)

    def _waits(self) -> bool:
        channel = self._method.channel
        return not channel.is_ended and (self._patient or not channel.is_known)

    def _waited(self) -> None:
        left = self.time_remaining()
        channel = self._method.channel
        late = left is not None and left <= 0
        self._refuse(channel.unavailable(grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.UNAVAILABLE))

    # Its end.

    def _refuse(self, error: grpc.aio.AioRpcError) -> None:
        """Ends it without an attempt."""
        method = self._method
        if self._attempt is None:
            method.counts.refused += 1
            if method.begin is not None:
                method.begin("").end(error.code(), error)
        self._end(error)

    def _end(self, error: grpc.aio.AioRpcError) -> None:
        attempt, self._error = self._attempt, error
        self._finish()
        if attempt is not None:
            attempt.real.cancel()

    def _finish(self) -> None:
        """It has ended."""
        self._disarm()
        self._resume()
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            self._call_back(callback)

    def _disarm(self) -> None:
        self._method.channel.waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _resume(self) -> None:
        """What was to come has come: those who wait for it look again."""
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():
            pending.set_result(None)

    def _call_back(self, callback: Callable[[Any], Any]) -> None:
        # What it raises belongs to whoever has added it, not to those who await the call, nor to other callbacks.
        try:
            callback(self)
        except Exception as error:  # noqa: BLE001 - as asyncio treats the callbacks of a future
            told = {"message": f"a callback of a call to {self._method.signature.path}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)


def error_with(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    """An error of grpc.aio that came from no server."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
