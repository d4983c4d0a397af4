"""One life of a server, from its first step to its last; it reads from top to bottom as it goes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

from loguru import logger

from hrpc import _runtime, life
from hrpc.errors import HrpcError, StartError, StartTimeout, StopError
from hrpc.log import sink
from hrpc.log.audit import AuditLog
from hrpc.option import Settings
from hrpc.rpc.recorder import Recorder
from hrpc.server import commands, in_flight
from hrpc.server.activity import Activity
from hrpc.server.drain import longest
from hrpc.server.job import Job
from hrpc.server.parts import Parts
from hrpc.server.plan import plan
from hrpc.server.steps import Step, Steps, take_back_cancellation


class Running:
    """Starts, runs until it is told to stop, and stops. `live` is that life; the other methods are its controls."""

    def __init__(
        self, settings: Settings, recorder: Recorder, job: Job | None = None, *, reports: bool = False
    ) -> None:
        """`job` runs instead of serving. `reports`: a failing start is logged, because nobody else will tell of it."""
        self.parts = Parts(settings, recorder)
        self.settings = settings
        self.name = settings.server_name
        self.started = asyncio.Event()
        self.interrupted = False
        """Whether the job is ended before its end."""
        self.code = 1
        """The exit code then."""
        self.failed_in_job = False
        self.result: Any = None
        self.exit: BaseException | None = None
        """A SystemExit or the like, for the caller to raise: out of a task it would end the event loop at once."""
        self._job = job
        self._log: sink.Log | None = None
        self._reports = reports
        self._steps = Steps(settings.stop.step_limit, self.parts.progress)
        self._until_stop = asyncio.timeout(None)
        self._stopping = asyncio.Event()
        self._cancelled = False
        self._finished = False
        self._interruptible = False
        self._life: asyncio.Task[Any] | None = None
        self.parts.hosted.stop_server = self.failed
        self.parts.hosted.server_stops = self._stopping.is_set
        commands.add_to(self)

    def shut_down(self, reason: str) -> None:
        """Asks for the stop, unless it is under way already."""
        if not self._stopping.is_set():
            self.request_stop(reason)

    def failed(self, reason: str) -> None:
        """Asks for the stop of the service, and its exit code 1, because a part of this life has failed."""
        self.shut_down(reason)

    def request_stop(self, reason: str) -> None:
        """Asks for the stop; when it is under way, for one that waits for nobody."""
        if self._stopping.is_set():
            if not self.parts.hurry.is_set():
                logger.warning("{}: {} again, the stop waits no longer", self.name, reason)
                self.parts.hurry.set()
            return
        logger.info("{} stops: {}", self.name, reason)
        self._stopping.set()
        stop = self.settings.stop
        self.parts.watch.expect("the beginning of the stop", stop.grace + stop.step_limit)
        if not self.started.is_set() or self._job is not None:
            self.interrupted = self._job is not None and not self._finished
            if self._interruptible:
                self._until_stop.reschedule(0)

    def signalled(self, name: str) -> None:
        """The process was told by a signal to end."""
        if not self._stopping.is_set():
            self.code = 128 + signal.Signals[name]
        self.request_stop(name)

    def waits_for_caller(self) -> bool:
        """Whether the stop waits for the code that asks this, so that it cannot wait for the stop."""
        task, background = asyncio.current_task(), self.parts.background
        if task is self._life or (background is not None and task in background.running):
            return True
        return _runtime.awaits_this_task(self.parts.runtime)

    def request_restart(self) -> None:
        """Asks for the restart hooks to run, while the server goes on."""
        self.reopen_log()
        if self.parts.background is None or self._stopping.is_set():
            logger.warning("{}: restart hooks do not run while it starts or stops", self.name)
        else:
            self.parts.background.go(self._restart())

    def asked_for_activity(self) -> None:
        """SIGUSR1 has come, and the log has been told what runs in this process: so it need not wait for the loop."""

    async def activity(self) -> list[str]:
        """What runs, in lines for people."""
        return await life.in_daemon_thread(Activity(self.parts).lines)

    async def calls(self) -> str:
        """How many calls run, in words."""
        return in_flight.counted(self.parts.calls.in_flight)

    def reopen_log(self) -> None:
        """Opens the file of the log anew, at whatever point of its life."""
        if self._log is not None:
            self._log.reopen()

    async def maintenance(self, reason: str | None) -> None:
        """Takes the server out of rotation, or back in with None. Raises `ConsulError`, and goes on trying."""
        self.parts.health.maintenance = reason
        logger.info("{}: {}", self.name, "is in rotation again" if reason is None else f"in maintenance: {reason}")
        try:
            if self.parts.consul is not None:
                await self.parts.consul.maintenance(reason)
        finally:
            await self.parts.rotation.tell()

    async def _restart(self) -> None:
        began = time.monotonic()
        for error in await life.run_restart_hooks(self.parts.runtime, self.settings.stop.step_limit):
            logger.error("{}: {}", self.name, _told(error))
        logger.info("{}: restart hooks have run in {:.3f} s", self.name, time.monotonic() - began)

    async def live(self) -> None:
        """Lives. Raises what kept it from starting, what its job raised, `ManagerError` when
        hosted services failed, or `StopError` when its stop was not clean."""
        self._life = asyncio.current_task()
        runtime, s = self.parts.runtime, self.settings
        with (
            sink.installed(runtime, s.environment, file=s.log_file, zones=s.log_times) as self._log,
            runtime.attached(),
        ):
            self.parts.audit = AuditLog(self._log.writer, self._log.calls, self.settings.audit)
            failure = await self._start_and_run()
            await self._leave()
            if self._cancelled and not self._steps.errors:
                raise asyncio.CancelledError
            if isinstance(failure, Exception):
                self._report(failure)
            if self.parts.hosted.error is not None:
                raise self.parts.hosted.error from failure
            if isinstance(failure, Exception):
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
            take_back_cancellation()
            return error
        return None

    async def _start_and_work(self) -> None:
        if self._stopping.is_set():
            return
        await self._start()
        self._arrived()
        if self._job is not None:
            await self._work(self._job)
        else:
            await self._stopping.wait()

    async def _work(self, job: Job) -> None:
        try:
            self.result = await job.run(self.parts)
        except Exception:
            self.failed_in_job = True
            raise
        self._finished = True

    async def _start(self) -> None:
        self.parts.runtime.exit_hooks.extend(self.settings.exit_listeners)
        self.parts.runtime.restart_hooks.extend(self.settings.restart_listeners)
        steps = list(self._plan(self._steps.errors))
        limit = self.settings.start_limit
        try:
            async with asyncio.timeout(limit):
                await self._steps.enter_all(steps)
        except TimeoutError:  # of the whole: that of a step would be the cause of its StartError
            progress, late = self.parts.progress, StartTimeout(limit or 0.0)
            raise StartError(progress.step, late, progress.place) from late

    def _plan(self, errors: list[Exception]) -> Iterator[Step]:
        return plan(self.parts, errors, self._job)

    def _arrived(self) -> None:
        self.started.set()
        start = self._steps.start
        logger.info("{} {}, started in {:.3f} s: {}", self.name, self._doing(), start.seconds, start)

    def _doing(self) -> str:
        if self._job is not None:
            return "runs its job"
        parts = self.parts
        ports = {"serves on port": parts.port, "health on": parts.health_port, "metrics on": parts.metrics_port}
        return ", ".join(f"{what} {port}" for what, port in ports.items() if port is not None)

    async def _leave(self) -> None:
        limits, watch = self.settings.stop, self.parts.watch
        # A step with waits of its own expects something else when its wait is another one.
        await self._steps.leave_all(watch.expect, longest(self.settings))
        watch.expect("the end of the event loop", limits.step_limit)
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


def _told(error: Exception) -> str:
    notes = "; ".join(getattr(error, "__notes__", ()))
    said = str(error) if isinstance(error, HrpcError) else repr(error)
    return f"{said} ({notes})" if notes else said
