"""OpenTelemetry's provider of this process, when the program has set none: each server's spans go to its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, create_key, detach, get_current, get_value, set_value
from opentelemetry.trace import Span, TracerProvider
from opentelemetry.util._decorator import _agnosticcontextmanager

from hrpc import _runtime, context

PROVIDER_KEY = create_key("hrpc-tracer-provider")
"""In OpenTelemetry's context, the provider of the call: a thread that has only a copy of the context has no runtime."""
CALL_KEY = create_key("hrpc-context")
"""The `hrpc.context.Context` in which the current span was begun."""
_NOTHING = trace.NoOpTracerProvider()


def here() -> Context:
    """OpenTelemetry's current context; without its span inside of a `background_context`, which begins a new trace."""
    now, call = get_current(), context.current()
    if get_value(CALL_KEY, now) is call:
        return now
    return of_call(call, get_value(PROVIDER_KEY, now))


def of_call(call: context.Context | None, provider: object) -> Context:
    """OpenTelemetry's context for what begins with `call`."""
    return Context({PROVIDER_KEY: provider, CALL_KEY: call})


class OfServers(trace.TracerProvider):
    """Gives tracers that lead to the running server.

    OpenTelemetry lets a process set its provider once; servers come and go, and several may run at a time.
    """

    def get_tracer(self, *names: Any, **named: Any) -> trace.Tracer:
        return _Tracer(names, named)


class _Tracer(trace.Tracer):
    def __init__(self, names: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._names = names
        self._named = named

    def start_span(self, name: str, context: Context | None = None, *args: Any, **named: Any) -> Span:
        context = here() if context is None else context
        return self._tracer(_provider(context)).start_span(name, context, *args, **named)

    # Not the real tracer's own: as a decorator it is called at import, when no server runs.
    @_agnosticcontextmanager
    def start_as_current_span(
        self, name: str, context: Context | None = None, *args: Any, **named: Any
    ) -> Iterator[Span]:
        provider = _provider(here() if context is None else context)
        token = attach(set_value(PROVIDER_KEY, provider, here()))
        try:
            with self._tracer(provider).start_as_current_span(name, context, *args, **named) as span:
                yield span
        finally:
            detach(token)

    def _tracer(self, provider: TracerProvider) -> trace.Tracer:
        return provider.get_tracer(*self._names, **self._named)


def _provider(context: Context) -> TracerProvider:
    found = get_value(PROVIDER_KEY, context) or getattr(_runtime.tracer(), "provider", None)
    return found if isinstance(found, TracerProvider) else _NOTHING
