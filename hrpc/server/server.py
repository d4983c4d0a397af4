"""What ``new_server`` gives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from socket import socket
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from hrpc.abc import endpoint, local
from hrpc.errors import AlreadyRunning, NotRunning, OptionError
from hrpc.option import Option, Settings, checks
from hrpc.rpc.recorder import Recorder
from hrpc.server.plugins.plugins import Plugins

if TYPE_CHECKING:
    import grpc

    from hrpc.server.job import Job
    from hrpc.server.running import Running

T = TypeVar("T")

WORKER = "HRPC_WORKER"
"""The environment variable in which a worker finds its number."""


def new_server(*options: Option) -> Server:
    """A server made of `options` and of the environment variables; it does no I/O until it is started.

    Raises `OptionError`, and says which option to change.
    """
    return Server(options)


class Server:
    """A gRPC service: takes servicers as a gRPC server does, and runs with all that its options ask for.

    ::

        server = hrpc.new_server(hrpc.with_server_name("greeter"))
        add_GreeterServicer_to_server(Greeter(), server)
        server.serve()                      # blocks until a signal

        async with server: ...              # or: inside an event loop that runs already
    """

    def __init__(self, options: Sequence[Option]) -> None:
        self._options = tuple(options)
        self._plugins = Plugins()
        self._settings = self._plugins.settled(self._options)
        self._recorder = Recorder()
        self._running: Running | None = None
        self._life: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: Future[None] | None = None

    @property
    def settings(self) -> Settings:
        """What the options and the environment came to."""
        return self._settings

    @property
    def server(self) -> Self:
        """The server itself, where code expects the gRPC server in an attribute."""
        return self

    @property
    def port(self) -> int:
        """The port that gRPC was bound to. Raises `NotRunning` before that."""
        return self._bound("port", None if self._running is None else self._running.parts.port)

    @property
    def health_port(self) -> int:
        """The port of the health probes. Raises `NotRunning` before it is bound, and without `with_health_check`."""
        return self._bound("health port", None if self._running is None else self._running.parts.health_port)

    @property
    def metrics_port(self) -> int:
        """The port of the metrics. Raises `NotRunning` before it is bound, and without `with_metrics`."""
        return self._bound("metrics port", None if self._running is None else self._running.parts.metrics_port)

    @property
    def address(self) -> str:
        """``host:port`` to reach the server at from this machine. Raises `NotRunning` before it is bound."""
        return endpoint(local(self._settings.host), self.port)

    def _bound(self, what: str, port: int | None) -> int:
        if port is None:
            raise NotRunning(
                f"the server {self._settings.server_name!r} has no {what}: it is not running, or without one"
            )
        return port

    def apply(self, *options: Option) -> None:
        """Adds options, which win over those given to ``new_server``. Raises `AlreadyRunning` once it is started."""
        self._check_not_running()
        self._settings = self._plugins.settled((*self._options, *options))
        self._options += options

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """For generated code: takes the methods of a servicer. Raises `AlreadyRunning` once the server is started."""
        self._check_not_running()
        self._recorder.add_registered_method_handlers(service_name, method_handlers)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """For generated code: takes the handlers of a servicer. Raises `AlreadyRunning` once the server is started."""
        self._check_not_running()
        self._recorder.add_generic_rpc_handlers(generic_rpc_handlers)

    def serve(self) -> None:
        """Starts, serves until SIGTERM, SIGINT or SIGQUIT, and stops; a second signal makes the stop wait for nobody.

        With `hrpc.with_workers`, processes that are forked here serve, and this one keeps them.

        Raises SystemExit with code 1 when the start or the stop failed; the log has said why. Raises `ForkError` when
        the process cannot be forked.
        """
        from hrpc.server.workers import forking

        count = forking.count(self._settings.workers)
        if count == 1:
            self._run_blocking(None)
            return
        _check_no_loop()
        self._check_not_running()
        forking.check()
        from hrpc.server.workers import nursery
        from hrpc.server.workers.master import Master
        from hrpc.server.workers.supervision import patience

        with nursery.opened(partial(self._live_as_worker, count), patience(self._settings)) as line:
            self._run_blocking(None, partial(Master, line=line, count=count))

    @overload
    def run(
        self,
        job: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        timeout: float | None = None,
        heartbeat: bool | str | os.PathLike[str] = True,
        **kwargs: Any,
    ) -> T: ...

    @overload
    def run(
        self,
        job: Callable[..., T],
        *args: Any,
        timeout: float | None = None,
        heartbeat: bool | str | os.PathLike[str] = True,
        **kwargs: Any,
    ) -> T: ...

    def run(
        self,
        job: Callable[..., Any],
        *args: Any,
        timeout: float | None = None,
        heartbeat: bool | str | os.PathLike[str] = True,
        **kwargs: Any,
    ) -> Any:
        """Runs a function with Consul and the pools, but without a port or a registration; gives its result.

        For cron jobs and migrations. The function gets `args` and `kwargs`. It is async, or sync: then it runs in a
        thread of its own, with `hrpc.from_thread.run` for what is to be awaited. After `timeout` seconds it is ended;
        what it asks of others has that deadline as well. A signal ends it too. An async function is cancelled then; a
        sync one finds ``hrpc.draining()`` set. Either has the `grace` of `with_graceful_stop` to end.

        While it runs, `heartbeat` is a file that is fresh as long as the job's liveness passes: in the run folder,
        where ``hrpc probe liveness`` looks for it, or at the path that is given; False for none.

        What the job raises is raised when everything has been released, also its SystemExit; and `JobTimeout`. Raises
        SystemExit with the code 1 when the start or the stop failed, and as shells do when a signal ended the job: 143
        for SIGTERM, 130 for SIGINT. Raises `OptionError` for a wrong `timeout` or `heartbeat`.

        ::

            server.run(clean_up, "orders", days=30, timeout=600)
        """
        from hrpc.server.job import Job  # with all that runs, which `new_server` does without

        if not callable(job):
            raise TypeError(f"server.run takes a function, not {job!r}")
        limit = None if timeout is None else checks.seconds("server.run", "timeout", timeout, 0.001)
        if not isinstance(heartbeat, bool | str | os.PathLike):
            raise OptionError(f"server.run(heartbeat={heartbeat!r}): takes a path, True or False")
        return self._run_blocking(Job(job, args, kwargs, limit, heartbeat))

    async def __aenter__(self) -> Self:
        """Starts inside the running event loop. Raises `StartError` or `AlreadyRunning`."""
        running, life = self._begin(None)
        started = asyncio.create_task(running.started.wait())
        try:
            await asyncio.wait({started, life}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._end("the start was cancelled")
            raise
        finally:
            started.cancel()
        if not running.started.is_set():
            await self._end("it did not start")
            life.result()
            raise NotRunning(f"the server {self._settings.server_name!r} was stopped while it started")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stops gracefully and waits for the end. Raises `StopError` when a step failed; all others were taken.

        In the server's own job, steps, hooks and hosted services, or in a task of `hrpc.go`, it asks for the stop and
        does not wait: the stop waits for them. In a handler it waits, and so the stop takes all of its grace: use
        ``hrpc.go(server.stop())`` there.
        """
        if self._running is not None and self._running.waits_for_caller():
            self._running.shut_down("stop() was called")
        else:
            await self._end("stop() was called")

    def start_shutdown(self) -> None:
        """Begins the stop and returns at once; may be called again, from any thread and from a signal handler.

        Of a server that does not run, or stops already, nothing happens. See `wait_for_shutdown`.
        """
        running, loop = self._running, self._loop
        if running is not None and loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the life is over
                loop.call_soon_threadsafe(running.shut_down, "start_shutdown() was called")

    async def wait_for_shutdown(self) -> None:
        """Waits, in any event loop, until the server has stopped and everything is released; begins no stop itself.

        Whoever runs the server, with `serve` or ``async with``, is told of what went wrong. It returns at once when the
        server does not run. In a handler or a job of the server, which its stop waits for, it waits in vain.
        """
        if self._ended is not None:
            await asyncio.shield(asyncio.wrap_future(self._ended))

    async def enter_maintenance(self, reason: str) -> None:
        """Takes the server out of rotation: callers that find it in Consul make no new call to it.

        Plugins that announce it are told as well.

        It goes on serving, readiness says 503 with the reason, and health of gRPC and liveness stay as they are. It
        lasts until `leave_maintenance`, also when Consul loses the registration meanwhile. Raises `OptionError` for a
        reason that cannot be shown, `NotRunning`, and `ConsulError` when Consul cannot be told now: it is then told as
        soon as it answers.

        ::

            await server.enter_maintenance("rebuilding the index")
            try:
                await rebuild()
            finally:
                await server.leave_maintenance()
        """
        await self._serving().maintenance(checks.text("server.enter_maintenance", "reason", reason))

    async def leave_maintenance(self) -> None:
        """Ends what `enter_maintenance` began; without it, nothing happens. Raises as it does."""
        running = self._serving()
        if running.parts.health.maintenance is not None:
            await running.maintenance(None)

    def _serving(self) -> Running:
        if self._running is None or self._running.parts.port is None:
            raise NotRunning(
                f"the server {self._settings.server_name!r} does not serve: maintenance is for one that does"
            )
        return self._running

    def _begin(
        self, job: Job | None, life: Callable[..., Running] | None = None, *, reports: bool = False
    ) -> tuple[Running, asyncio.Task[None]]:
        from hrpc.server.running import Running

        self._check_not_running()
        self._running = (life or Running)(self._settings, self._recorder, job, reports=reports)
        self._life = asyncio.create_task(self._running.live(), name=f"hrpc: {self._settings.server_name}")
        self._loop, self._ended = asyncio.get_running_loop(), Future()
        self._life.add_done_callback(partial(_end, self._ended))
        return self._running, self._life

    async def _end(self, reason: str) -> None:
        running, life = self._running, self._life
        if running is None or life is None:
            return
        if not life.done():
            running.request_stop(reason)
        cancelled: asyncio.CancelledError | None = None
        while not life.done():
            try:
                await asyncio.wait({life})
            except asyncio.CancelledError as error:
                # Whoever waits has no more patience: what was acquired is still released.
                cancelled = error
                running.request_stop("the wait for the stop was cancelled")
        if self._life is life:
            self._running, self._life = None, None
        if cancelled is not None:
            raise cancelled
        life.result()
        if running.exit is not None:
            raise running.exit

    def _check_not_running(self) -> None:
        if self._life is not None:
            raise AlreadyRunning(f"the server {self._settings.server_name!r} is running: do this before it starts")

    def _live_as_worker(self, count: int, number: int, port: int, end: socket) -> int:
        from hrpc.server.workers.working import Working

        rates, concurrency = self._settings.rate_limits.divided(count), self._settings.concurrency.divided(count)
        self._settings = replace(self._settings, port=port, rate_limits=rates, concurrency=concurrency)
        os.environ[WORKER] = str(number)
        self._run_blocking(None, partial(Working, number=number, end=end))
        return 0

    def _run_blocking(self, job: Job | None, life: Callable[..., Running] | None = None) -> Any:
        _check_no_loop()
        from hrpc.server import blocking

        return blocking.run(self._settings.event_loop, partial(self._begun, job, life))

    @contextmanager
    def _begun(
        self, job: Job | None, life: Callable[..., Running] | None
    ) -> Iterator[tuple[Running, asyncio.Task[None]]]:
        begun = self._begin(job, life, reports=True)
        try:
            yield begun
        finally:
            self._running, self._life = None, None


def _end(ended: Future[None], _: asyncio.Task[None]) -> None:
    ended.set_result(None)


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise AlreadyRunning("an event loop runs here already: use `async with server:` inside of it")
