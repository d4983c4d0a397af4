"""The spans: what is told of a call, of a database and of Consul."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
from loguru import logger
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context as OTelContext
from opentelemetry.trace import SpanKind, StatusCode

from hrpc._version import __version__
from hrpc.context import Context, current
from hrpc.tracing import propagation
from hrpc.tracing.servers import here, of_call

_UNTRACED = ("/grpc.health.", "/grpc.reflection.", "/grpc.channelz.")
# https://opentelemetry.io/docs/specs/semconv/rpc/grpc/: of the others, the caller is the cause.
_SERVER_ERRORS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_CLIENT_ERRORS = frozenset(grpc.StatusCode) - {grpc.StatusCode.OK}


class OpenTelemetry:
    """Traces with an OpenTelemetry provider: an `hrpc.abc.Tracer`."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer("hrpc", __version__)
        self._is_usual = propagation.is_usual()
        self._has_failed = False

    def end(self, span: trace.Span) -> None:
        """Ends a span. What the program's own processors do then must not cost a call its answer."""
        try:
            span.end()
        except Exception as error:  # noqa: BLE001 - whatever it is, the span is lost, and told once
            if not self._has_failed:
                self._has_failed = True
                logger.opt(exception=error).error(
                    "tracing: a span could not be ended, others like it are lost silently; correct the span processor"
                )

    def serving(self, path: str) -> Callable[[Context, Any], CallSpan] | None:
        """Begins the span of a call that is served; None for health checks, reflection and channelz."""
        if path.startswith(_UNTRACED):
            return None
        start, provider, is_usual = self._tracer.start_span, self.provider, self._is_usual
        name, attributes = _of_method(path)

        def begin(context: Context, call: Any) -> CallSpan:
            # It begins empty: nothing that the server's own tasks carry is the parent of a call.
            parent = of_call(context, provider)
            if context.parent_span_id or context.baggage:
                parent = propagation.received(context, parent)
            if not is_usual:
                parent = propagation.extracted(call.invocation_metadata(), parent)
            # Given at once, which costs less than setting them, even where the sampler then drops them.
            span = start(name, parent, SpanKind.SERVER, attributes | _of_peer(call.peer()))
            _tell(context, span)
            if context.trace_id != context.w3c_trace_id:
                span.set_attribute("hrpc.trace_id", context.trace_id)
            # Not detached at the end: it is the call's own task, and what that starts stays a part of the trace.
            otel.attach(trace.set_span_in_context(span, parent))
            return CallSpan(span, _SERVER_ERRORS, self.end)

        return begin

    def calling(self, path: str, target: str = "") -> Callable[[str], OutgoingSpan] | None:
        """Begins the span of a call that is made; None for health checks, reflection and channelz."""
        if path.startswith(_UNTRACED):
            return None
        start, is_usual = self._tracer.start_span, self._is_usual
        name, attributes = _of_method(path)
        if target:
            attributes["server.address"] = target

        def begin(endpoint: str) -> OutgoingSpan:
            parent = here()
            span = start(name, parent, SpanKind.CLIENT, attributes | _of_endpoint(endpoint))
            return OutgoingSpan(span, parent, is_usual, self.end)

        return begin

    def handling(self, context: Context, name: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """Begins the span of a request that is answered, other than a gRPC call."""
        return self._received(context, name, SpanKind.SERVER, attributes)

    def consuming(self, context: Context, topic: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """Begins the span of a message that is handled."""
        return self._received(context, f"process {topic}", SpanKind.CONSUMER, attributes)

    def _received(
        self, context: Context, name: str, kind: SpanKind, attributes: Mapping[str, str | int]
    ) -> RequestSpan:
        parent = propagation.received(context, of_call(context, self.provider))
        span = self._tracer.start_span(name, parent, kind, attributes)
        _tell(context, span)
        otel.attach(trace.set_span_in_context(span, parent))
        return RequestSpan(span, self.end)

    def sending(self, topic: str, attributes: Mapping[str, str | int]) -> SendingSpan:
        """Begins the span of a message that is sent."""
        parent = here()
        span = self._tracer.start_span(f"send {topic}", parent, SpanKind.PRODUCER, attributes)
        return SendingSpan(span, parent, self._is_usual, self.end)

    def request(self, name: str, attributes: Mapping[str, str | int]) -> RequestSpan:
        """Begins the span of a request to a database or to Consul."""
        return RequestSpan(self._tracer.start_span(name, here(), SpanKind.CLIENT, attributes), self.end)

    def request_in_call(self, name: str, attributes: Mapping[str, str | int]) -> RequestSpan | None:
        """The same; None outside of any span."""
        return self.request(name, attributes) if _is_traced(here()) else None

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """A span around what is done in the context, and current there."""
        context = current()
        parent = of_call(context, self.provider)
        span = self._tracer.start_span(name, parent)
        if context is not None:
            _tell(context, span)
        token = otel.attach(trace.set_span_in_context(span, parent))
        try:
            yield
        except BaseException as error:
            _fail(span, _type(error), error)
            raise
        finally:
            otel.detach(token)
            self.end(span)


class CallSpan:
    """The span of a call."""

    __slots__ = ("_end", "_errors", "_span")

    def __init__(self, span: trace.Span, errors: frozenset[grpc.StatusCode], end: Callable[[trace.Span], None]) -> None:
        """`end` is what ends the span."""
        self._span = span
        self._errors = errors
        self._end = end

    def end(self, code: grpc.StatusCode, error: BaseException | None) -> None:
        """Ends the span with the status of the call."""
        span = self._span
        if span.is_recording():
            span.set_attribute("rpc.response.status_code", code.name)
            if code in self._errors:
                _fail(span, code.name, None if isinstance(error, grpc.aio.AbortError) else error)
        self._end(span)


class OutgoingSpan(CallSpan):
    """The span of a call to another service."""

    __slots__ = ("_is_usual", "_parent")

    def __init__(
        self, span: trace.Span, parent: OTelContext, is_usual: bool, end: Callable[[trace.Span], None]
    ) -> None:
        super().__init__(span, _CLIENT_ERRORS, end)
        self._parent = parent
        self._is_usual = is_usual

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What tells the callee of the span: W3C's, and what ``OTEL_PROPAGATORS`` asks for besides."""
        return propagation.sent(self._span, self._parent, self._is_usual)


class RequestSpan:
    """The span of a request to a database or to Consul."""

    __slots__ = ("_end", "_span")

    def __init__(self, span: trace.Span, end: Callable[[trace.Span], None]) -> None:
        self._span = span
        self._end = end

    def end(self, error: BaseException | None = None, attributes: Mapping[str, str | int] | None = None) -> None:
        """Ends the span; its status is an error when there was one."""
        span = self._span
        if span.is_recording():
            if attributes:
                span.set_attributes(attributes)
            if error is not None:
                _fail(span, _type(error), None)
            elif attributes and "error.type" in attributes:
                span.set_status(StatusCode.ERROR)
        self._end(span)


class SendingSpan(RequestSpan):
    """The span of a message that is sent."""

    __slots__ = ("_is_usual", "_parent")

    def __init__(
        self, span: trace.Span, parent: OTelContext, is_usual: bool, end: Callable[[trace.Span], None]
    ) -> None:
        super().__init__(span, end)
        self._parent = parent
        self._is_usual = is_usual

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """What tells the consumers of the span."""
        return propagation.sent(self._span, self._parent, self._is_usual)


def _tell(context: Context, span: trace.Span) -> None:
    """Log lines and outgoing calls name the span."""
    found = span.get_span_context()
    if not found.is_valid or found.is_remote:
        return  # a provider that does nothing gives the caller's span, or none
    trace_id = trace.format_trace_id(found.trace_id)
    # Another when the program's own provider makes the IDs. One in a form of another system stays in the log.
    if trace_id != context.w3c_trace_id:
        if context.trace_id == context.w3c_trace_id:
            context.trace_id = trace_id
        context.w3c = trace_id
    context.span_id = trace.format_span_id(found.span_id)
    context.sampled = found.trace_flags.sampled


def _fail(span: trace.Span, kind: str, error: BaseException | None) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
    if error is not None:
        # Its words can be secrets; they are in the log, under the same trace ID.
        span.add_event("exception", {"exception.type": _type(error)})


def _type(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _is_traced(context: OTelContext) -> bool:
    return trace.get_current_span(context).get_span_context().is_valid


def _of_method(path: str) -> tuple[str, dict[str, str | int]]:
    name = path.removeprefix("/")
    return name, {"rpc.system.name": "grpc", "rpc.method": name}


@lru_cache(4096)
def _of_peer(peer: str) -> dict[str, str | int]:
    """Of ``ipv4:127.0.0.1:5000`` or ``ipv6:%5B::1%5D:5000``, as ``ServicerContext.peer`` gives it."""
    family, _, address = peer.partition(":")
    return _of_endpoint(unquote(address)) if family in ("ipv4", "ipv6") else {}


@lru_cache(4096)
def _of_endpoint(endpoint: str) -> dict[str, str | int]:
    """Of ``127.0.0.1:5000`` or ``[::1]:5000``."""
    host, _, port = endpoint.rpartition(":")
    return {"network.peer.address": host.strip("[]"), "network.peer.port": int(port)} if port.isdecimal() else {}
