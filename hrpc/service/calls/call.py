"""The object that the caller of another service holds: one call, whatever attempts it takes.

While it has one attempt, which is nearly always, it only hands through what grpc.aio says of that. Everything else
happens in callbacks, so that no task runs beside a call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from hrpc.errors import BreakerOpen
from hrpc.rpc.upstream_error import error_of
from hrpc.service.balancing import Endpoint
from hrpc.service.calls.attempt import Attempt, Outcome

if TYPE_CHECKING:
    from hrpc.service.calls.method import Method

_CANCELLED_HERE = "Locally cancelled by application!"


class Call:
    """Made by a `Method`, which begins it with `start`."""

    __slots__ = (
        "__weakref__",
        "_attempt",
        "_callbacks",
        "_cancelled",
        "_context",
        "_deadline",
        "_error",
        "_method",
        "_patient",
        "_pending",
        "_replay",
        "_seen",
        "_timer",
        "_tried",
        "_wrote",
        "compression",
        "credentials",
        "metadata",
        "request",
    )

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
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._patient = bool(wait_for_ready)
        self._attempt: Attempt | None = None
        """The attempt that counts: the newest one, or the one that has won."""
        self._tried: tuple[Endpoint, ...] = ()
        self._pending: asyncio.Future[None] | None = None
        """There while something is to come that is not `_attempt`: a further one, or an instance."""
        self._timer: asyncio.TimerHandle | None = None
        self._error: grpc.aio.AioRpcError | None = None
        """How it ended, where that is not how an attempt ended."""
        self._cancelled = False
        self._callbacks: list[Callable[[Any], Any]] | None = None

    # What grpc.aio's calls have.

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
        self._end(_error(grpc.StatusCode.CANCELLED, _CANCELLED_HERE))
        return True

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Calls back with this object when it has ended; at once when it already has."""
        if self.done():
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None when there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

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

    # What its parts ask and tell it.

    def outgoing_request(self) -> Any:
        """What the next attempt sends."""
        return self.request

    def start(self) -> None:
        """Begins the first attempt, or waits for an instance."""
        endpoint = self._method.balancer.pick(self._method.key_of(self))
        if endpoint is None:
            self._await_instance()
            return
        try:
            self._attempt = Attempt(self, self._method, endpoint, self.time_remaining())
        except BreakerOpen as error:
            self._refuse(error)
        else:
            self._tried = (endpoint,)

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
        endpoint = method.balancer.pick(method.key_of(self), self._tried)
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
            self._refuse(_error(grpc.StatusCode.INTERNAL, f"the call cannot be made: {error!r}"))
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

    def _disarm(self) -> None:
        self._method.channel.waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _finish(self) -> None:
        """It has ended."""
        self._disarm()
        self._resume()
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            self._call_back(callback)

    def _call_back(self, callback: Callable[[Any], Any]) -> None:
        # What it raises belongs to whoever has added it, not to those who await the call, nor to other callbacks.
        try:
            callback(self)
        except Exception as error:  # noqa: BLE001 - as asyncio treats the callbacks of a future
            told = {"message": f"a callback of a call to {self._method.signature.path}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)

    def _resume(self) -> None:
        """What was to come has come: those who wait for it look again."""
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():
            pending.set_result(None)

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

    def _keep_cancel(self, before: int) -> None:
        """Raises the cancel that grpc.aio has swallowed, if any since there had been so many.

        It awaits a task of its own, which takes the cancel for itself; when the attempt has failed in the same moment,
        what it raises is that failure, and the call would go on with the next attempt.
        """
        if cancels() > before:
            self.cancel()
            raise asyncio.CancelledError

    def _failure(self, error: grpc.aio.AioRpcError | None = None) -> BaseException:
        """What to raise, when grpc.aio has said `error`."""
        if self._cancelled:
            return asyncio.CancelledError()
        found = self._error or error
        assert found is not None
        return error_of(found)


def cancels() -> int:
    """How often the current task has been asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
