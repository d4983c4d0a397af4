"""What traces a server, from its first step to its last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from loguru import logger

from hrpc import context
from hrpc._runtime import Runtime
from hrpc.option import Settings
from hrpc.option.tracing import is_installed
from hrpc.rpc.outgoing import Outgoing


@asynccontextmanager
async def opened(settings: Settings, runtime: Runtime, outgoing: Outgoing) -> AsyncIterator[None]:
    """Traces what `runtime` opens from now on, and its outgoing calls; sends the last spans at its end."""
    if not is_installed():
        logger.warning(
            "{}: OTEL_* variables ask for tracing, but OpenTelemetry is not installed: pip install 'hrpc[otel]'",
            settings.server_name,
        )
        yield
        return
    from hrpc.tracing.provider import opened as tracer_opened  # inside the step, whose time is mostly this import

    async with tracer_opened(settings) as tracer:
        runtime.tracer = tracer
        outgoing.traced_by(tracer)
        try:
            yield
        finally:
            runtime.tracer = None
            outgoing.traced_by(None)


async def working(job: Callable[[], Awaitable[Any]], name: str, runtime: Runtime, timeout: float | None) -> Any:
    """Runs a job, as one trace, with a deadline for what it asks of others."""
    with context.background_context(timeout), nullcontext() if runtime.tracer is None else runtime.tracer.working(name):
        return await job()
