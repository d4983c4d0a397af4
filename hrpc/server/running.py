"""One life of a server, from its first step to its last; it reads from top to bottom as it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2_grpc
from loguru import logger

from hrpc import _runtime, configs, life, listener, service, tasks
from hrpc.abc import Database, Engine
from hrpc.engine.choice import chosen
from hrpc.errors import HrpcError, StopError
from hrpc.health import http
from hrpc.health.service import HealthService
from hrpc.health.state import Health, Phase
from hrpc.log import sink
from hrpc.log.audit import AuditLog
from hrpc.metrics.calls import Calls
from hrpc.metrics.measures import Measures
from hrpc.option import Consul, Settings
from hrpc.rpc import outgoing
from hrpc.rpc.breaker import Breakers
from hrpc.rpc.error_details import Encoder
from hrpc.rpc.failure import Failures
from hrpc.rpc.guard.guards import Guards
from hrpc.rpc.in_thread import InThread
from hrpc.rpc.outgoing import Outgoing
from hrpc.rpc.recorder import Recorder
from hrpc.rpc.router import Router
from hrpc.rpc.threads import DaemonThreads
from hrpc.rpc.wrapper import Wrapper
from hrpc.server import tracing
from hrpc.server.diagnostics import Diagnostics
from hrpc.server.drain import drain, noticed
from hrpc.server.methods import Methods
from hrpc.server.pools import Pools
from hrpc.server.registration import registration
from hrpc.server.steps import Steps, take_back_cancellation
from hrpc.service.connections import Connections
from hrpc.service.dialing import Dialer
from hrpc.service.directory import Directory

if TYPE_CHECKING:
    from hrpc.consul import Client
    from hrpc.tls.files import CertificateFiles

Job = Callable[[], Awaitable[Any]]

UPSTREAM_LIMIT = 2.0
"""Seconds that a start waits for the first answer about a service it calls."""


class Running:
    """Starts, runs until it is told to stop, and stops. `live` is that life; the other methods are its controls."""

    def __init__(
        self, settings: Settings, recorder: Recorder, job: Job | None = None, *, reports: bool = False
    ) -> None:
        """`job` runs instead of serving. `reports`: a failing start is logged, because nobody else will tell of it."""
        self.settings = settings
        self.name = settings.server_name
        self.port: int | None = None
        self.health_port: int | None = None
        self.metrics_port: int | None = None
        self.started = asyncio.Event()
        self.interrupted = False
        self.result: Any = None
        self.exit: BaseException | None = None
        """A SystemExit or the like, for the caller to raise: out of a task it would end the event loop at once."""
        self._recorder = recorder
        self._job = job
        self._reports = reports
        self._runtime = _runtime.Runtime(self.name, settings.stack_skip)
        self._steps = Steps(settings.stop.step_limit)
        self._health = Health()
        self.guards = Guards(settings)
        self._calls = Calls(settings.metrics_buckets, examples=settings.metrics_port is not None)
        self.breakers = None if settings.breaker is None else Breakers(settings.breaker)
        self._outgoing = Outgoing(self.name, self.breakers)
        self._runtime.values[outgoing.slot] = self._outgoing
        self._pools = Pools(self._runtime, self._health)
        self._audit: AuditLog | None = None
        self._measures = self._measured()
        self._consul: Client | None = None
        self._configs: configs.Configs | None = None
        self._directory: Directory | None = None
        self._certificates: dict[str, CertificateFiles] = {}
        self._background: tasks.Background | None = None
        self._until_stop = asyncio.timeout(None)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._cancelled = False
        self._finished = False
        self._interruptible = False
        self._life: asyncio.Task[Any] | None = None

    def request_stop(self, reason: str) -> None:
        """Asks for the stop; when it is under way, for one that waits for nobody."""
        if self._stopping.is_set():
            if not self._hurry.is_set():
                logger.warning("{}: {} again, the stop waits no longer", self.name, reason)
                self._hurry.set()
            return
        logger.info("{} stops: {}", self.name, reason)
        self._stopping.set()
        if not self.started.is_set() or self._job is not None:
            self.interrupted = not self._finished
            if self._interruptible:
                self._until_stop.reschedule(0)

    def waits_for(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether the stop waits for this task, so that it cannot wait for the stop."""
        return task is self._life or (self._background is not None and task in self._background.running)

    def request_restart(self) -> None:
        """Asks for the restart hooks to run, while the server goes on."""
        if self._background is None or self._stopping.is_set():
            logger.warning("{}: restart hooks do not run while it starts or stops", self.name)
        else:
            self._background.go(self._restart())

    async def _restart(self) -> None:
        began = time.monotonic()
        for error in await life.run_restart_hooks(self._runtime, self.settings.stop.step_limit):
            logger.error("{}: {}", self.name, _told(error))
        logger.info("{}: restart hooks have run in {:.3f} s", self.name, time.monotonic() - began)

    async def live(self) -> None:
        """Lives. Raises what kept it from starting, what its job raised, or `StopError` when its stop was not clean."""
        self._life = asyncio.current_task()
        with sink.installed(self._runtime, self.settings.environment) as log, self._runtime.attached():
            self._audit = AuditLog(log.writer, log.calls, self.settings.audit)
            failure = await self._start_and_run()
            await self._leave()
            if self._cancelled and not self._steps.errors:
                raise asyncio.CancelledError
            if isinstance(failure, Exception):
                self._report(failure)
                raise failure
            if failure is not None:
                self.exit = failure
                return
            if self._steps.errors:
                raise StopError(self._steps.errors)

    async def _start_and_run(self) -> BaseException | None:
        try:
            async with self._until_stop:
                self._interruptible = True
                try:
                    await self._start_and_work()
                finally:
                    self._interruptible = False
        except TimeoutError as error:
            return None if self._until_stop.expired() else error
        except asyncio.CancelledError:
            # The task group of a step does this when a task of its crashes, and raises the crash when it is left.
            take_back_cancellation()
            self._cancelled = True
            logger.error(
                "{} stops: it was cancelled, by a task of its own that crashed or by its event loop", self.name
            )
        except BaseException as error:  # noqa: BLE001 - raised by `live` when all has been released
            return error
        return None

    async def _start_and_work(self) -> None:
        if self._stopping.is_set():
            return
        await self._start()
        self._arrived()
        if self._job is not None:
            self.result = await tracing.working(self._job, self._runtime)
            self._finished = True
        else:
            await self._stopping.wait()

    async def _start(self) -> None:
        self._runtime.exit_hooks.extend(self.settings.exit_listeners)
        self._runtime.restart_hooks.extend(self.settings.restart_listeners)
        assert self._audit is not None
        await self._steps.enter(None, self._audit, leaving="log flushed")
        if self.settings.tracing is not None:
            # First, so that what is opened after it can be traced, and last to end, so that the last spans are sent.
            await self._steps.enter("tracing", tracing.opened(self.settings, self._runtime, self._outgoing))
        if self.settings.consul is not None:
            await self._start_consul()
        for database in self.settings.databases:
            await self._steps.enter(database.name, self._database(database))
        await self._steps.enter("background tasks", self._background_tasks(), limited=False)
        await self._steps.enter("exit hooks", self._exit_hooks(), limited=False)
        if self._job is None:
            await self._start_serving()

    async def _start_consul(self) -> None:
        s = self.settings
        assert s.consul is not None
        # In this order, so that nothing that is followed in Consul reaches for connections that have been closed.
        connections = await self._steps.enter("connections", self._connections())
        self._consul = await self._steps.enter("consul", _connected(s.consul))
        self._configs = configs.Configs(self._consul, s.kv_prefix, s.server_name)
        self._runtime.values[configs.slot] = self._configs
        self._directory = Directory(self._consul, connections, self._outgoing, s.environment, s.target)
        self._runtime.values[service.slot] = self._directory

    async def _start_serving(self) -> None:
        s, enter = self.settings, self._steps.enter
        if s.health_port is not None:
            self.health_port = await enter("health", self._health_http(s.health_port))
        if s.metrics_port is not None:
            self.metrics_port = await enter("metrics", self._metrics_http(s.metrics_port))
        engine = chosen(s)
        self.port = await enter("bind", self._bound(engine), leaving="close port")
        if self._directory is not None and s.upstreams:
            await enter("upstreams", self._upstreams(self._directory))
        await enter("serve", self._serving(engine), leaving="drain", limited=False)
        if self._consul is not None and s.consul is not None:
            from hrpc.consul.address import advertised

            await enter(None, noticed(self._drain_delay, self._hurry), leaving="drain delay", limited=False)
            address = advertised(s.registration.address, s.consul, s.host)
            entry = registration(s, address, self.port, self.health_port)
            await enter("register", self._consul.registered(entry), leaving="deregister")
        await enter("ready", self._ready(), leaving="not ready")

    def _arrived(self) -> None:
        self.started.set()
        doing = f"serves on port {self.port}" if self._job is None else "runs its job"
        start = self._steps.start
        logger.info("{} {}, started in {:.3f} s: {}", self.name, doing, start.seconds, start)

    async def _leave(self) -> None:
        await self._steps.leave_all()
        for error in self._steps.errors:
            logger.error("{}: {}", self.name, _told(error))
        if self._stopping.is_set() or self.started.is_set():
            stop = self._steps.stop
            logger.info("{} has stopped in {:.3f} s: {}", self.name, stop.seconds, stop)

    def _report(self, failure: BaseException) -> None:
        if self._reports and not self.started.is_set():
            cause = failure.__cause__ or failure
            log = logger if isinstance(cause, HrpcError) else logger.opt(exception=cause)
            log.error("{} did not start: {}", self.name, failure)

    # The steps that have to know more than their settings.

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[Connections]:
        dialer = Dialer(self.settings)
        if dialer.files is not None:
            self._certificates["client"] = dialer.files
        async with Connections(dialer) as connections:
            self._runtime.restart_hooks.insert(0, connections.renew)
            yield connections

    @asynccontextmanager
    async def _database(self, database: Database) -> AsyncIterator[None]:
        stored = None
        if database.needs_settings and self._consul is not None:
            stored = await configs.read_object(self._consul, f"{self.settings.kv_prefix}/databases/{database.name}")
        async with self._pools.opened(database, stored):
            yield

    @asynccontextmanager
    async def _background_tasks(self) -> AsyncIterator[None]:
        async with tasks.opened(self.settings.stop.step_limit, self._hurry) as background:
            with self._runtime.provide(tasks.slot, background):
                self._background = background
                yield

    @asynccontextmanager
    async def _exit_hooks(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._steps.errors += await life.run_exit_hooks(self._runtime, self.settings.stop.step_limit)

    def _health_http(self, port: int) -> AbstractAsyncContextManager[int]:
        option = "hrpc.with_health_check(port=…)"
        return listener.serve_http("health check", self.settings.host, port, option, http.routes(self._health))

    def _metrics_http(self, port: int) -> AbstractAsyncContextManager[int]:
        from hrpc.metrics.call_text import CallText
        from hrpc.metrics.collectors import InstrumentCollector, MeasureCollector
        from hrpc.metrics.exposition import Exposition

        instruments = InstrumentCollector(self.name, _runtime.early_metrics, self._runtime.metrics)
        exposition = Exposition(CallText(self._calls), lambda: (*map(MeasureCollector, self._measures), instruments))
        routes = {"/metrics": exposition.answer}
        return listener.serve_http("metrics", self.settings.host, port, "hrpc.with_metrics(port=…)", routes)

    @asynccontextmanager
    async def _bound(self, engine: Engine) -> AsyncIterator[int]:
        certificates = None
        if self.settings.certificates is not None:
            from hrpc.tls.server import ServerCertificates

            certificates = ServerCertificates(self.settings.certificates)
            self._certificates["server"] = certificates.files
            self._runtime.restart_hooks.insert(0, certificates.files.refresh)
        try:
            yield await engine.bind(self.settings.host, self.settings.port, certificates)
        finally:
            await engine.stop(0)

    @asynccontextmanager
    async def _upstreams(self, directory: Directory) -> AsyncIterator[None]:
        for name in self.settings.upstreams:
            entry = directory.entry(name, None)
            await entry.answered(UPSTREAM_LIMIT)
            if not entry.instances:
                logger.warning("upstream {!r}: no instance passes its checks yet", name)
        yield

    @asynccontextmanager
    async def _serving(self, engine: Engine) -> AsyncIterator[None]:
        services = self._recorder.services
        health = HealthService(self._health, services)
        own = Recorder()
        health_pb2_grpc.add_HealthServicer_to_server(health, own)  # type: ignore[arg-type]
        diagnostics = Diagnostics(self.settings)
        diagnostics.add_to(own, services)
        threads = DaemonThreads(self.settings.handler_threads, "hrpc-handler")
        failures = Failures(self._pools.unavailable, Encoder(self.name, self.settings.shown_of_errors))
        assert self._audit is not None
        methods = Methods(self.settings, self._calls, self._recorder, self.guards, self._runtime.tracer, self._audit)
        in_thread = InThread(self._runtime, threads)
        wrapper = Wrapper(methods.describe, failures, in_thread, intercepted=bool(self.settings.interceptors))
        router = Router({**own.methods, **self._recorder.methods}, self._recorder.generic, wrapper)
        with self.guards.watching():
            await engine.start([router])
            try:
                yield
            finally:
                health.end_watches()
                diagnostics.end_streams()
                await drain(engine, self._calls, self.settings.stop.grace, self._hurry)
                threads.shutdown()

    def _drain_delay(self) -> float:
        return self.settings.drain_delay if self.started.is_set() else 0.0

    @asynccontextmanager
    async def _ready(self) -> AsyncIterator[None]:
        self._health.enter(Phase.SERVING)
        try:
            yield
        finally:
            self._health.enter(Phase.STOPPING)

    def _measured(self) -> Measures:
        measures = Measures()
        gauge = measures.gauge
        gauge("hrpc_pool_connections", "Connections of a pool.", self._pools.connections, ("pool", "state"))
        gauge("hrpc_pool_waiting", "Callers that wait for a connection.", self._pools.waiting, ("pool",))
        gauge(
            "hrpc_registered",
            "1 when Consul lists this instance, else 0.",
            lambda: None if self._consul is None else float(self._consul.present),
        )
        gauge(
            "hrpc_upstream_age_seconds",
            "Seconds since Consul confirmed the instances.",
            lambda: {} if self._directory is None else self._directory.ages(),
            ("service",),
        )
        gauge(
            "hrpc_config_age_seconds",
            "Seconds since Consul confirmed the value.",
            lambda: {} if self._configs is None else self._configs.ages(),
            ("key",),
        )
        gauge(
            "hrpc_certificate_expiry_timestamp_seconds",
            "When a certificate in use expires, in seconds since 1970.",
            lambda: {end: at.timestamp() for end, files in self._certificates.items() if (at := files.now.expires)},
            ("end",),
        )
        measures.counter(
            "hrpc_log_dropped",
            "Log lines that were dropped, because nobody read the output.",
            lambda: None if self._audit is None else self._audit.dropped,
        )
        self.guards.measure(measures)
        if self.breakers is not None:
            self.breakers.measure(measures)
        return measures


@asynccontextmanager
async def _connected(consul: Consul) -> AsyncIterator[Client]:
    from hrpc.consul import connect  # inside the step, whose time is mostly that of this import

    async with connect(consul) as client:
        yield client


def _told(error: Exception) -> str:
    notes = "; ".join(getattr(error, "__notes__", ()))
    return f"{error!r} ({notes})" if notes else str(error)
