"""What a caller told of its trace, in OpenTelemetry's terms. Strangers tell it: it may neither cost much nor log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context as OTelContext
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags, TraceState

from hrpc.context import BAGGAGE, TRACEPARENT, TRACESTATE, Context

# https://www.w3.org/TR/trace-context/#tracestate-header-field-values. The SDK's own parser logs what it does not take.
_SIMPLE_KEY, _TENANT_KEY = r"[a-z][a-z0-9_\-*/]{0,255}", r"[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_STATE_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_STATE = re.compile(f"({_SIMPLE_KEY}|{_TENANT_KEY})=({_STATE_VALUE})")
_STATES_AT_MOST = 32
# https://www.w3.org/TR/baggage/#baggage-http-header-format, less properties, for which OpenTelemetry has no place.
_BAGGAGE = re.compile(
    r"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*=\s*([\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*)\s*(?:;.*)?"
)
_BAGGAGE_AT_MOST = 64

SAMPLED, NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)


class _MetadataGetter(Getter[Any]):
    def get(self, carrier: Any, key: str) -> list[str] | None:
        values = [value for name, value in carrier if name == key and isinstance(value, str)]
        return values or None

    def keys(self, carrier: Any) -> list[str]:
        return [name for name, _ in carrier]


_GETTER = _MetadataGetter()


def is_usual() -> bool:
    """Whether ``OTEL_PROPAGATORS`` asks for no more than what `hrpc.context` reads and writes anyway."""
    return propagate.get_global_textmap().fields <= {TRACEPARENT, TRACESTATE, BAGGAGE}


def received(context: Context, base: OTelContext) -> OTelContext:
    """`base` with the caller's span, if there is one, and the caller's baggage."""
    if context.parent_span_id:
        remote = SpanContext(
            int(context.w3c_trace_id, 16),
            int(context.parent_span_id, 16),
            is_remote=True,
            trace_flags=SAMPLED if context.sampled else NOT_SAMPLED,
            trace_state=_state(context.tracestate) if context.tracestate else None,
        )
        base = trace.set_span_in_context(NonRecordingSpan(remote), base)
    if context.baggage:
        for name, value in _pairs(context.baggage).items():
            base = baggage.set_baggage(name, value, base)
    return base


def extracted(metadata: Any, base: OTelContext) -> OTelContext:
    """The same by the propagators that ``OTEL_PROPAGATORS`` names, such as ``b3``."""
    return propagate.extract(metadata or (), base, _GETTER)


@lru_cache(256)
def _state(header: str) -> TraceState | None:
    pairs: dict[str, str] = {}
    for member in header.split(","):
        if not (member := member.strip(" \t")):
            continue
        found = _STATE.fullmatch(member)
        if found is None or found[1] in pairs or len(pairs) == _STATES_AT_MOST:
            return None
        pairs[found[1]] = found[2]
    return TraceState(list(pairs.items()))


@lru_cache(256)
def _pairs(header: str) -> Mapping[str, str]:
    found = (_BAGGAGE.fullmatch(member) for member in header.split(",")[:_BAGGAGE_AT_MOST])
    return {unquote(pair[1]): unquote(pair[2]) for pair in found if pair is not None}


def sent(span: Span, parent: OTelContext, is_usual: bool) -> list[tuple[str, str]]:
    """The metadata that tells a callee of the span and of the baggage in `parent`."""
    carrier: dict[str, str] = {}
    if not is_usual:
        propagate.inject(carrier, trace.set_span_in_context(span, parent))
    told = span.get_span_context()
    if told.is_valid:
        carrier[TRACEPARENT] = f"00-{told.trace_id:032x}-{told.span_id:016x}-{told.trace_flags:02x}"
        if told.trace_state:
            carrier[TRACESTATE] = told.trace_state.to_header()
    if pairs := baggage.get_all(parent):
        # OpenTelemetry's own writes a space as a plus sign, which the specification does not know.
        members = [f"{quote(name, '')}={quote(str(value), '')}" for name, value in pairs.items()]
        carrier[BAGGAGE] = ",".join(members[:_BAGGAGE_AT_MOST])
    return list(carrier.items())
