"""Where spans go: OpenTelemetry's provider, made of the options and of the ``OTEL_*`` variables."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from hrpc import context
from hrpc.errors import OptionError
from hrpc.option import Settings
from hrpc.tracing.exporting import Lent, Watched, closed
from hrpc.tracing.servers import OfServers
from hrpc.tracing.spans import OpenTelemetry

_GROUP = "opentelemetry_traces_exporter"
_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_LIMIT_SHARE = 0.8
"""Of the time that a step of the stop has, what the last spans may take: the rest is for giving up in good order."""


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[OpenTelemetry | None]:
    """What traces a server; None when the variables want no spans. Sends the last spans at its end.

    A provider that the program has set for itself is used as it is, and left running. Raises `OptionError`.
    """
    existing = trace.get_tracer_provider()
    if not isinstance(existing, trace.ProxyTracerProvider | OfServers):
        yield OpenTelemetry(existing)
        return
    assert settings.tracing is not None
    exporters = _exporters(otlp=not settings.tracing.processors)
    if not exporters and not settings.tracing.processors:
        yield None
        return
    provider = _provider(settings)
    try:
        for processor in settings.tracing.processors:
            provider.add_span_processor(Lent(processor))
        for exporter in exporters:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        if not isinstance(existing, OfServers):
            trace.set_tracer_provider(OfServers())
        yield OpenTelemetry(provider)
    finally:
        await closed(provider, exporters, settings.stop.step_limit * _LIMIT_SHARE)


def _provider(settings: Settings) -> TracerProvider:
    assert settings.tracing is not None
    sampler: Sampler | None = None
    if settings.tracing.ratio is not None and not os.environ.get("OTEL_TRACES_SAMPLER"):
        sampler = ParentBased(TraceIdRatioBased(settings.tracing.ratio))
    return TracerProvider(
        sampler,
        _resource(settings),
        shutdown_on_exit=False,  # without a limit, it would keep the process
        id_generator=_IdsOfContexts(),
    )


def _resource(settings: Settings) -> Resource:
    ours = {
        "service.name": settings.server_name,
        "service.instance.id": str(uuid4()),
        "deployment.environment.name": str(settings.environment),
    }
    if settings.registration.version is not None:
        ours["service.version"] = settings.registration.version
    return Resource.create(ours).merge(OTELResourceDetector().detect())


class _IdsOfContexts(RandomIdGenerator):
    """A trace that begins here has the ID that `hrpc.context` has given it, which stands in the log, too."""

    def generate_trace_id(self) -> int:
        current = context.current()
        return super().generate_trace_id() if current is None else int(current.w3c_trace_id, 16)

    def is_trace_id_random(self) -> bool:
        return False  # that of a Go service need not be


def _exporters(*, otlp: bool) -> list[Watched]:
    names = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or ("otlp" if otlp else "none")
    return [Watched(_exporter(name.strip())) for name in names.split(",") if name.strip().lower() not in ("", "none")]


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        # On lines of their own: those of the log go to the same place.
        return ConsoleSpanExporter(out=sys.stdout, formatter=lambda span: f"{span.to_json(indent=None)}\n")
    if name == "otlp":
        name = _otlp()
    for found in entry_points(group=_GROUP, name=name):
        try:
            exporter: SpanExporter = found.load()()
        except ModuleNotFoundError as error:
            raise OptionError(
                f"the exporter {name!r} cannot be used: {error}; pip install 'hrpc[otel]', or choose another with "
                "OTEL_TRACES_EXPORTER"
            ) from error
        except Exception as error:
            raise OptionError(
                f"OTEL_TRACES_EXPORTER: {name!r} cannot be used: {error}; check the OTEL_* variables"
            ) from error
        return exporter
    known = ", ".join(sorted({"none", *_names()}))
    raise OptionError(
        f"OTEL_TRACES_EXPORTER={name!r}: there is no such exporter; there are {known}, "
        "and pip install 'hrpc[otel]' brings those of OTLP"
    )


def _names() -> Iterable[str]:
    return (found.name for found in entry_points(group=_GROUP))


def _otlp() -> str:
    variables = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    variable = next((variable for variable in variables if os.environ.get(variable)), variables[1])
    protocol = os.environ.get(variable, "").strip() or "grpc"
    if protocol not in _OTLP:
        raise OptionError(f"{variable}={protocol!r}: takes grpc or http/protobuf")
    return _OTLP[protocol]
