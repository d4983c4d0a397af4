"""One attempt of a call: at one instance, with a span and a turn of the breaker of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import grpc.aio

from hrpc import context
from hrpc.abc import KEEPALIVE_META
from hrpc.rpc.outgoing import finished
from hrpc.service.balancing import Endpoint
from hrpc.service.calls import refusals
from hrpc.service.calls.metadata import Pairs

if TYPE_CHECKING:
    from hrpc.service.calls.course import Course
    from hrpc.service.calls.method import Method

_OK, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
_CANCELLED_HERE = ("Locally cancelled by application!", "Cancelled upon garbage collection!")


class Outcome(NamedTuple):
    """How an attempt ended that was not answered."""

    code: grpc.StatusCode
    details: str = ""
    unsent: bool = False
    """No connection was there to send it on."""
    refused: bool = False
    """It was sent, and refused before anybody saw it."""

    @property
    def cancelled_here(self) -> bool:
        """Whether it was this side that has cancelled it; grpc.aio's `cancelled` is also true of the other."""
        return self.code is grpc.StatusCode.CANCELLED and self.details in _CANCELLED_HERE

    @property
    def says(self) -> grpc.StatusCode:
        """What it tells of the instance and the service: a refusal is CANCELLED as well, which would tell nothing."""
        return grpc.StatusCode.UNAVAILABLE if self.refused else self.code

    @property
    def did_not_run(self) -> bool:
        """Whether no handler has seen the call, for sure."""
        return self.unsent or self.refused


class Attempt:
    """A call of grpc.aio, `real`, to the instance of `endpoint`. Tells the balancer, the breaker, the trace and `call`
    how it ends."""

    __slots__ = ("_began", "_call", "_method", "_span", "_turn", "endpoint", "is_awaited", "real")

    def __init__(self, call: Course, method: Method, endpoint: Endpoint, timeout: float | None) -> None:
        """Begins it, with `timeout` seconds. Raises `BreakerOpen`, and what grpc.aio raises for its arguments."""
        going, breaker, begin = method.outgoing, method.breaker, method.begin
        self._turn = turn = 0 if breaker is None else breaker.before()
        self._span = span = None if begin is None else begin(endpoint.connection.dial.endpoint)
        given = metadata = call.metadata
        try:
            if span is not None or context.current() is not None:
                metadata = going.metadata(given, timeout, span)
            if given is None:  # so that all of it is ours
                metadata = Pairs(*metadata or ())
            self.real = endpoint.connection.callables[method.signature](
                call.request,
                timeout=timeout,
                metadata=metadata,
                credentials=call.credentials,
                compression=call.compression,
            )
        except BaseException as error:
            going.failed(error, breaker=breaker, turn=turn, span=span)
            raise
        self._call: Course | None = call
        self._method = method
        self.is_awaited = False
        """Whether somebody waits for the response, and then says `end` or `failed`: to ask for the code of a call
        costs as much as all else that is done at its end."""
        self.endpoint = endpoint
        self._began = time.monotonic()
        method.counts.attempts += 1
        method.balancer.began(endpoint)
        self.real.add_done_callback(self._ended)

    def is_connected(self) -> bool:
        """Whether there is a connection to the instance now."""
        state: grpc.ChannelConnectivity = self.endpoint.connection.channel.get_state()
        return state is grpc.ChannelConnectivity.READY

    def failed(self) -> None:
        """Who has waited for its response got none, or waits no more."""
        self.is_awaited = False
        if self.real.done():
            self._ended(self.real)

    def _ended(self, real: Any) -> None:
        if not self.is_awaited:
            code = finished(real.code())
            self.end(None if code is _OK else self._outcome(code, real))

    def end(self, outcome: Outcome | None = None) -> None:
        """It has ended; without an `outcome` it was answered."""
        call, method = self._call, self._method
        if call is None:
            return
        self._call = None
        says = _OK if outcome is None else outcome.says
        method.balancer.ended(self.endpoint, says, time.monotonic() - self._began)
        if self._span is not None:
            self._span.end(_OK if outcome is None else outcome.code, None)
        goes_on = call.ended(self, outcome)
        if method.breaker is not None:
            # What did not run, and is made elsewhere, fails nobody: one instance that is away does not make the service
            # one that fails.
            is_mended = goes_on and outcome is not None and outcome.did_not_run
            method.breaker.after(self._turn, _CANCELLED if is_mended else says)

    def _outcome(self, code: grpc.StatusCode, real: Any) -> Outcome:
        details = finished(real.details()) or ""
        state = self.endpoint.connection.channel.get_state()
        instance = self.endpoint.instance
        return Outcome(
            code,
            details,
            refusals.is_connect_failure(code, details, state, instance.port),
            # Only hrpc registers this, and keeps the words of a refusal from its handlers.
            KEEPALIVE_META in instance.meta and refusals.is_refusal(code, details, finished(real.trailing_metadata())),
        )
