"""The ports of a server: opened, answered, drained and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from grpc_health.v1 import health_pb2_grpc
from loguru import logger

from hrpc import listener
from hrpc.abc import Engine, Report, endpoint, local
from hrpc.health import ping
from hrpc.health.service import HealthService
from hrpc.rpc.error_details import Encoder
from hrpc.rpc.failure import Failures
from hrpc.rpc.in_thread import InThread
from hrpc.rpc.recorder import Recorder
from hrpc.rpc.router import Router
from hrpc.rpc.threads import DaemonThreads
from hrpc.rpc.wrapper import Wrapper
from hrpc.server.diagnostics import Diagnostics
from hrpc.server.drain import drain
from hrpc.server.measures import measured
from hrpc.server.methods import Methods
from hrpc.server.parts import Parts
from hrpc.server.plugins import pages


@asynccontextmanager
async def health_http(parts: Parts, port: int) -> AsyncIterator[None]:
    """Answers health probes, and tells what the server knows of itself."""
    from hrpc.health import debug, http  # and with it aiohttp, which takes longer to import than all else of a start
    from hrpc.server import explaining

    discovery = explaining.discovery if parts.workers is None else explaining.discovery_of_workers
    reports: dict[str, Report] = {
        "/debug/discovery": partial(discovery, parts),
        "/debug/registration": partial(explaining.registration, parts),
        **pages.reports(parts),
    }
    routes = {**http.routes(parts.health), **debug.routes(parts.settings.debug, reports)}
    posts = http.switches(parts.health, parts.settings.debug)
    host, option = parts.settings.host, "hrpc.with_health_check(port=…)"
    async with listener.serve_http("health check", host, port, option, routes, posts) as parts.health_port:
        yield


@asynccontextmanager
async def metrics_http(parts: Parts, port: int) -> AsyncIterator[None]:
    """Answers scrapes."""
    from hrpc.metrics.call_text import CallText
    from hrpc.metrics.exposition import Exposition

    calls = CallText(parts.calls)
    if parts.workers is None:
        exposition = Exposition(calls, measured(parts, calls))
    else:
        from hrpc.server.workers.gathering import Gathering

        exposition = Gathering(parts, parts.workers, measured(parts, calls)).exposition
    routes = {"/metrics": exposition.answer}
    option = "hrpc.with_metrics(port=…)"
    async with listener.serve_http("metrics", parts.settings.host, port, option, routes) as parts.metrics_port:
        yield


@asynccontextmanager
async def bound(parts: Parts, engine: Engine) -> AsyncIterator[None]:
    """Listens for gRPC, without answering yet."""
    certificates = None
    if parts.settings.certificates is not None:
        from hrpc.tls.server import ServerCertificates

        certificates = ServerCertificates(parts.settings.certificates)
        parts.certificates["server"] = parts.served.certificates = certificates.files
        parts.runtime.restart_hooks.insert(0, certificates.files.refresh)
    try:
        parts.port = await engine.bind(parts.settings.host, parts.settings.port, certificates)
        yield
    finally:
        await engine.stop(0)


@asynccontextmanager
async def serving(parts: Parts, engine: Engine) -> AsyncIterator[None]:
    """Answers gRPC; at the end lets the running calls end."""
    settings, services, own = parts.settings, parts.recorder.services, Recorder()
    health = HealthService(parts.health, services)
    health_pb2_grpc.add_HealthServicer_to_server(health, own)  # type: ignore[arg-type]
    diagnostics = Diagnostics(settings)
    if settings.pings:
        ping.add_to(own)
    diagnostics.add_to(own, services)
    threads = DaemonThreads(settings.handler_threads, "hrpc-handler")
    router = Router({**own.methods, **parts.recorder.methods}, parts.recorder.generic, _wrapper(parts, threads))
    if not parts.recorder.methods and not parts.recorder.generic and not settings.has_services:
        logger.warning(
            "{} has no methods: before serve(), call the add_…Servicer_to_server(…, server) that grpc_tools generates",
            parts.name,
        )
    async with parts.guards.watching(engine.own_target):
        await engine.start([router])
        try:
            with parts.served.serving(
                router.methods, _own_target(parts, engine), is_generic=bool(parts.recorder.generic)
            ):
                yield
        finally:
            health.end_watches()
            diagnostics.end_streams()
            await drain(engine, parts)
            threads.shutdown()


def _own_target(parts: Parts, engine: Engine) -> str | None:
    if engine.own_target is not None or parts.port is None or parts.settings.certificates is not None:
        return engine.own_target
    return endpoint(local(parts.settings.host), parts.port)


def _wrapper(parts: Parts, threads: DaemonThreads) -> Wrapper:
    settings = parts.settings
    failures = Failures(parts.pools.unavailable, Encoder(parts.name, settings.shown_of_errors))
    assert parts.audit is not None
    methods = Methods(settings, parts.calls, parts.recorder, parts.guards, parts.runtime.tracer, parts.audit)
    in_thread = InThread(parts.runtime, threads)
    return Wrapper(methods.describe, failures, in_thread, intercepted=bool(settings.interceptors))
