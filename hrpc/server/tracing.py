"""What traces a server, from its first step to its last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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


async def working(job: Callable[[], Awaitable[Any]], runtime: Runtime) -> Any:
    """Runs a job, as one trace."""
    if runtime.tracer is None:
        return await job()
    name = getattr(job, "__qualname__", type(job).__qualname__)
    with context.background_context(timeout=None), runtime.tracer.working(name):
        return await job()
