"""Spans of what comes in and goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import grpc


class Span(Protocol):
    """A call in a trace, from its making to `end`."""

    def end(self, code: grpc.StatusCode, error: BaseException | None) -> None:
        """The call has ended, with this status; `error` is what it raised. Called in the task that began it."""


class OutgoingSpan(Span, Protocol):
    """A call to another service."""

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What tells the callee of its place in the trace: ``traceparent`` and the like."""


class SendingSpan(Protocol):
    """The sending of a message, from its making to `end`."""

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What tells those who handle the message of its place in the trace."""

    def end(self, error: BaseException | None = None) -> None:
        """The broker has it, or sending it has failed with `error`."""


class RequestSpan(Protocol):
    """A request to a database or to Consul in a trace, from its making to `end`."""

    def end(self, error: BaseException | None = None, attributes: Mapping[str, str | int] | None = None) -> None:
        """The request has been answered, or has failed with `error`; `attributes` are those of the answer."""


class Tracer(Protocol):
    """Tells an observer what calls do and how long it takes them. The names are OpenTelemetry's."""

    def serving(self, path: str) -> Callable[[Any, Any], Span] | None:
        """Asked once for each method that is served, ``/package.Service/Method``; None when it is not traced.

        What it gives is called for each call, in the call's task, with the call's `hrpc.context.Context` (which is the
        current one, and whose IDs it sets) and its ``grpc.aio.ServicerContext``.
        """

    def calling(self, path: str, target: str = "") -> Callable[[str], OutgoingSpan] | None:
        """The same for a method that is called; `target` is the name of the service, if it is known.

        What it gives is called for each call with the ``host:port`` that the call goes to, empty when not known.
        """

    def handling(self, context: Any, name: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """Begins a request that is answered, other than a gRPC call: as part of the trace that its
        `hrpc.context.Context` tells of, whose IDs it sets. It is current from now on in the task of the request.

        An attribute ``error.type`` at its end says that it failed.
        """

    def consuming(self, context: Any, topic: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """The same for a message of this topic, whose handler runs in the current task."""

    def sending(self, topic: str, attributes: Mapping[str, str | int]) -> SendingSpan:
        """Begins the sending of a message, as part of what the current task does."""

    def request(self, name: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """Begins a request to a database or to Consul, as part of what the current task does."""

    def request_in_call(self, name: str, attributes: Mapping[str, str | int]) -> RequestSpan | None:
        """The same; None outside of what is traced already."""

    def working(self, name: str) -> AbstractContextManager[None]:
        """Makes what is done in the context one trace: for jobs, which no call has begun."""
