"""The life of one hosted service: set up, run, released."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from hrpc import _runtime
from hrpc.errors import HostedServiceError, PanicError, RunEnded, StepTimeout
from hrpc.errors.hosted import Stage
from hrpc.rpc.recorder import Recorder
from hrpc.server.steps import take_back_cancellation


class Life:
    """Goes through the stages in one task, because what is entered in a task has to be left in it.

    It waits between them until it is told to go on; `set_up` and `returned` say how far it is.
    """

    def __init__(
        self,
        service: Any,
        recorder: Recorder,
        failed: Callable[[HostedServiceError, Stage], None],
        server_stops: Callable[[], bool],
    ) -> None:
        """`recorder` takes the methods of a gRPC service; `failed` is called at once with what goes wrong."""
        self.id: str = service.id
        self.errors: dict[Stage, HostedServiceError] = {}
        self.set_up = _new_end()
        self.returned = _new_end()
        self._service = service
        self._recorder = recorder
        self._failed = failed
        self._server_stops = server_stops
        self._resources = AsyncExitStack()
        self._may_run = asyncio.Event()
        self._may_release = asyncio.Event()
        self._told_to_stop = False
        self._abandoned = False
        self._works = True
        """Whether code of the service is under way, which a cancellation can end."""
        self._crash: asyncio.CancelledError | None = None
        self.task = asyncio.create_task(self._live(), name=f"hrpc: service {self.id}")

    def run(self) -> None:
        """Lets the run begin."""
        self._may_run.set()

    def stop(self) -> None:
        """Cancels the set-up or the run, whichever is under way; returns at once, and does nothing a second time."""
        if not self._told_to_stop:
            self._told_to_stop = True
            self._may_run.set()
            self.force()

    def release(self) -> None:
        """Lets the service release what it holds, once its run has returned."""
        self._may_release.set()

    def force(self) -> None:
        """Cancels what is under way, whatever has been said before."""
        if self._works:
            self.task.cancel()

    def abandon(self, limit: float) -> None:
        """Its time is over: what it still does is cancelled once more, and an error."""
        doing = "release" if self.returned.done() else "run" if self.set_up.done() else "set-up"
        self.fail("shutdown", StepTimeout(doing, round(limit, 1)))
        self._abandoned = True
        self.release()
        self.force()

    def fail(self, stage: Stage, error: BaseException) -> None:
        """Something of it has failed; the first error of a stage counts."""
        if stage not in self.errors:
            self._note(stage, error)

    def _note(self, stage: Stage, error: BaseException) -> None:
        cause = error if isinstance(error, Exception) else PanicError(error)
        self.errors[stage] = HostedServiceError(self.id, cause)
        self._failed(self.errors[stage], stage)

    async def _live(self) -> None:
        _runtime.await_this_task()
        try:
            await self._stages()
        finally:
            self._works = False
            _reach(self.set_up)
            _reach(self.returned)

    async def _stages(self) -> None:
        try:
            await self._set_up()
        except GeneratorExit:  # its event loop is gone
            raise
        except BaseException as error:  # noqa: BLE001 - the server is told, and ends for it
            if not (self._told_to_stop and isinstance(error, asyncio.CancelledError)):
                self.fail("setup", error)
            await self._release()
            return
        self._pause()
        _reach(self.set_up)
        await self._until(self._may_run)
        if not self._told_to_stop and self._crash is None:
            await self._run()
        _reach(self.returned)
        await self._until(self._may_release)
        await self._release()

    async def _set_up(self) -> None:
        made = self._service.setup()
        if hasattr(made, "__aenter__"):
            await self._resources.enter_async_context(made)
        elif inspect.isawaitable(made):
            await made
        elif made is not None:
            raise TypeError(f"setup() gave {made!r}: it has to be an async context manager, or a coroutine function")
        if hasattr(self._service, "register_on_server"):
            self._service.register_on_server(self._recorder)

    async def _run(self) -> None:
        if not hasattr(self._service, "run"):
            return
        self._works = True
        try:
            running = self._service.run()
            if not inspect.isawaitable(running):
                raise TypeError(f"run() gave {running!r}: it has to be a coroutine function")
            await running
            await asyncio.sleep(0)  # start_shutdown(), when it has just called that, has taken effect then
            if not (self._told_to_stop or self._server_stops()):
                self.fail("run", RunEnded())
        except asyncio.CancelledError as cancelled:
            if not self._told_to_stop:
                self._crashed(cancelled)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            self.fail("run", error)
        finally:
            self._pause()

    async def _release(self) -> None:
        self._works = True
        crash = self._crash
        try:
            await self._resources.__aexit__(*_details(crash))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            if crash is None:
                if not (self._abandoned and isinstance(error, asyncio.CancelledError)):
                    self.fail("shutdown", error)
            elif error is not crash:
                # What it has acquired has a task group, whose failed task cancelled it, and which says now why.
                self._note("run", error)

    async def _until(self, event: asyncio.Event) -> None:
        while not event.is_set():
            try:
                await event.wait()
            except asyncio.CancelledError as cancelled:
                if self._abandoned:
                    raise
                self._crashed(cancelled)

    def _crashed(self, cancelled: asyncio.CancelledError) -> None:
        """Somebody else than the server has cancelled it."""
        self._crash = self._crash or cancelled
        self.fail("run", cancelled)

    def _pause(self) -> None:
        self._works = False
        if self._told_to_stop and self._crash is None:
            take_back_cancellation()


def _details(error: BaseException | None) -> tuple[type[BaseException] | None, BaseException | None, Any]:
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)


def _new_end() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _reach(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)
