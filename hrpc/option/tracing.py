"""The option for tracing."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from hrpc.errors import OptionError
from hrpc.option.settings import Option, TracingSettings


def with_tracing(ratio: float | None = None, *, processors: Iterable[Any] = ()) -> Option:
    """Trace calls with OpenTelemetry, as the standard ``OTEL_*`` variables say; needs ``pip install 'hrpc[otel]'``.

    `ratio` is the part of new traces that is recorded, 0 to 1, all when not given; a call that belongs to a trace
    follows its caller. ``OTEL_TRACES_SAMPLER`` wins over it. `processors` are span processors of your own; with them,
    spans are not exported over OTLP unless ``OTEL_TRACES_EXPORTER`` asks for it. Without this option, tracing is on
    where ``OTEL_TRACES_EXPORTER`` or ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; ``OTEL_SDK_DISABLED=true`` turns it off.
    The variables are those of https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.

    ::

        hrpc.with_tracing()                                 # to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names
        hrpc.with_tracing(processors=[SimpleSpanProcessor(InMemorySpanExporter())])         # in a test

    Raises `OptionError`.
    """
    option = "hrpc.with_tracing"
    if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1):
        raise OptionError(f"{option}(ratio={ratio!r}): takes a number from 0 (no trace) to 1 (all)")
    processors = tuple(processors)
    for processor in processors:
        if not callable(getattr(processor, "on_end", None)):
            raise OptionError(f"{option}(processors=…): {processor!r} is not a span processor of OpenTelemetry")
    if not is_installed():
        raise OptionError(f"{option} needs OpenTelemetry, which is not installed: pip install 'hrpc[otel]'")
    return Option("with_tracing", {"tracing": TracingSettings(None if ratio is None else float(ratio), processors)})


def is_installed() -> bool:
    """Whether OpenTelemetry's SDK is there."""
    try:
        return find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False
