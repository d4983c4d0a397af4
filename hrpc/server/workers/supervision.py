"""Workers are begun, begun again when they die, replaced one after the other, and ended."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial

from loguru import logger

from hrpc.errors import WorkerError
from hrpc.option import Settings
from hrpc.server.workers import activity, hanging, link
from hrpc.server.workers.births import NURSERY_GONE, Births
from hrpc.server.workers.deaths import Deaths
from hrpc.server.workers.worker import State, Worker
from hrpc.server.workers.workers import Workers

SETTLED = 1.0
"""Seconds in which the master gets the signal that a worker has got, when both were meant."""

_NO_LIMIT = 24 * 3600.0
_STEPS = 3
"""Steps of hrpc's own that may take all of their time; those that belong to each other end together."""

_CLEAN = (0, None, -signal.SIGUSR1)
"""Ends after a clean stop. Who asks what a worker does may come when it has given its handlers of signals back."""

LAST_WORDS = 1.0
"""Seconds to read what a worker that has ended had still said: a process that it has started may hold the line."""


def patience(settings: Settings) -> float:
    """Seconds after which a worker that was told to stop is killed: by then only one that hangs has not ended."""
    hosted = settings.hosted
    waits = max(settings.stop.grace, (hosted.max_shutdown or _NO_LIMIT) if settings.has_services else 0.0)
    own = (settings.plugins, settings.databases, settings.message_queues, settings.post_run, settings.exit_listeners)
    steps = _STEPS + sum(map(len, own))
    return waits + steps * settings.stop.step_limit + 2.0


class Supervision:
    """Keeps the workers serving."""

    def __init__(
        self,
        workers: Workers,
        births: Births,
        patience: float,
        give_up: Callable[[str], None],
        stopping: asyncio.Event,
    ) -> None:
        """`patience`: seconds that a worker has to end when it is told to. `give_up` is told once why none can
        serve any more, and is to end the context of `serving`. `stopping` is set some time before that ends: callers
        are to notice, and a worker that dies meanwhile is followed, but none is replaced any more."""
        self._workers = workers
        self._births = births
        self._patience = patience
        self._give_up = give_up
        self._stopping = stopping
        self._deaths = Deaths()
        self._port = 0
        self._tasks: asyncio.TaskGroup
        self._have_started = False
        self._ending = asyncio.Event()
        self._to_replace: set[int] = set()
        self._replacement_wanted = asyncio.Event()
        self._being_replaced: Worker | None = None
        self._failure: str | None = None
        self._was_asked = False
        self._unclean: list[str] = []
        """The workers that served, and whose stop with that of the service was not clean."""
        workers.on("signalled", self._signalled)
        workers.on("stop", self._asked_to_stop)
        workers.on("fail", self._told_of_failure)

    def request_reload(self) -> None:
        """Asks for all workers to be replaced, one after the other."""
        if self._have_started and not self._stopping.is_set():
            self._want_replaced(self._workers.current)
        else:
            logger.warning("workers are not replaced while the server starts or stops")

    def send_all(self, number: signal.Signals) -> None:
        """Sends a signal to all workers that take signals."""
        for worker in activity.asked(self._workers):
            self._births.send(worker.pid, number)

    @asynccontextmanager
    async def serving(self, port: int, hurry: asyncio.Event) -> AsyncIterator[None]:
        """Serves on `port` until the context ends; then lets the workers end. Raises `WorkerError`."""
        self._port = port
        errors: BaseException | None = None
        try:
            async with self._births.heard(), asyncio.TaskGroup() as self._tasks:
                beside = [self._tasks.create_task(work) for work in (self._notice_loss(), self._replace_when_wanted())]
                try:
                    await self._begin_all()
                    yield
                finally:
                    self._ending.set()
                    for task in beside:
                        task.cancel()
                    await self._end_all(hurry)
        except* WorkerError as group:
            errors = group
        if errors is not None or self._failure is not None:
            raise WorkerError(self._failure or str(_first(errors)))
        if self._unclean:
            raise WorkerError(f"not all have stopped cleanly: {'; '.join(self._unclean)}; the log says why")

    async def _begin_all(self) -> None:
        for number in range(1, self._workers.count + 1):
            self._workers.current[number] = await self._begin(number)
        # The first that fails says why, and nobody waits for the others.
        async with asyncio.TaskGroup() as tasks:
            for worker in self._workers.current.values():
                tasks.create_task(worker.ready())
        for worker in self._workers.current.values():
            if worker.state is State.ENDED:
                raise WorkerError(f"{worker} died while the others started: {worker.end}")
        self._have_started = True

    async def _begin(self, number: int) -> Worker:
        pid, end = await self._births.begin(number, self._port)
        if self._ending.is_set():
            end.close()  # which ends it
            raise WorkerError("the service stops")
        worker = Worker(number, pid)
        linked = asyncio.Event()
        self._tasks.create_task(self._own(worker, end, linked), name=f"hrpc: {worker}")
        await linked.wait()
        return worker

    async def _own(self, worker: Worker, end: socket.socket, linked: asyncio.Event) -> None:
        """Keeps the line to a worker for as long as it lives."""
        async with link.opened(end, str(worker)) as worker.link:
            for command, handler in self._workers.handlers.items():
                worker.link.on(command, partial(handler, worker))
            self._workers.all.add(worker)
            for callback in self._workers.when_begun:
                callback(worker)
            linked.set()
            if self._ending.is_set():
                worker.stop("the service stops")
            hanging_ends = self._tasks.create_task(self._end_when_it_hangs(worker))
            worker.code = await self._births.ended(worker.pid)
            hanging_ends.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if worker.code is None else LAST_WORDS):
                    await worker.link.closed.wait()
        if self._ending.is_set() and worker.was_ready and worker.code not in _CLEAN:
            self._unclean.append(f"{worker}: {worker.end}")
        self._workers.all.discard(worker)
        worker.enter(State.ENDED)
        for callback in self._workers.when_gone:
            callback(worker)
        if worker is self._workers.current.get(worker.number) and worker is not self._being_replaced:
            await self._follow(worker)

    async def _end_when_it_hangs(self, worker: Worker) -> None:
        await hanging.hangs(worker)
        logger.error("{} hangs: no answer within {:g} s; it tells where, and is killed", worker, hanging.LIMIT)
        self._births.send(worker.pid, signal.SIGUSR1)
        await asyncio.sleep(LAST_WORDS)
        self._births.kill(worker.pid)

    async def _follow(self, dead: Worker) -> None:
        """Begins another worker in the place of one that has died."""
        while self._have_started and not self._ending.is_set() and not self._births.lost.is_set():
            try:
                delay = self._deaths.delay(dead)
            except WorkerError as error:
                self._fail(str(error))
                return
            logger.error("{} died: {}; another one begins in {:.1f} s", dead, dead.end, delay)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._ending.wait()
                    return
            self._workers.restarts += 1
            try:
                self._workers.current[dead.number] = await self._begin(dead.number)
                return
            except WorkerError as error:
                dead = Worker(dead.number, 0)
                dead.failure = str(error)

    def _want_replaced(self, numbers: Iterable[int]) -> None:
        self._to_replace.update(numbers)
        self._replacement_wanted.set()

    async def _replace_when_wanted(self) -> None:
        while True:
            await self._replacement_wanted.wait()
            self._replacement_wanted.clear()
            numbers, self._to_replace = sorted(self._to_replace), set()
            try:
                for number in numbers:
                    if self._stopping.is_set():
                        return
                    await self._replace(self._workers.current[number])
            except WorkerError as error:
                logger.error("the workers that serve go on, because no new one can take their place: {}", error)
            else:
                logger.info("replaced: {}", ", ".join(str(self._workers.current[number]) for number in numbers))

    async def _replace(self, old: Worker) -> None:
        """Puts a new worker in the place of one that serves, which ends when the new one is ready."""
        if not old.is_serving:  # another one is on its way already
            return
        self._being_replaced = old
        try:
            new = await self._begin(old.number)
            await new.ready()
            self._workers.current[old.number] = new
        finally:
            self._being_replaced = None
            if old.state is State.ENDED and self._workers.current[old.number] is old:
                self._tasks.create_task(self._follow(old))
        old.stop(f"{new} has taken its place")
        await self._ended({old})

    async def _signalled(self, worker: Worker, name: str) -> None:
        # Whoever ends all processes of a service at once, as systemd does, ends the master as well.
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED):
                await self._stopping.wait()
                return
        logger.info("{} got {}: another one takes its place; to stop the service, signal its master", worker, name)
        if worker is self._workers.current.get(worker.number):
            self._want_replaced([worker.number])

    async def _asked_to_stop(self, worker: Worker, reason: str) -> None:
        if not self._was_asked:
            self._was_asked = True
            self._give_up(f"{worker}: {reason}")

    async def _told_of_failure(self, worker: Worker, reason: str) -> None:
        self._fail(f"{worker}: {reason}")

    async def _notice_loss(self) -> None:
        await self._births.lost.wait()
        if not self._have_started:
            raise WorkerError(NURSERY_GONE)
        self._fail(NURSERY_GONE)

    def _fail(self, reason: str) -> None:
        if self._failure is None and not self._ending.is_set():
            self._failure = reason
            self._give_up(reason)

    async def _end_all(self, hurry: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            hurrying = tasks.create_task(self._hurried(hurry))
            while workers := set(self._workers.all):
                for worker in workers:
                    worker.stop("the service stops")
                await self._ended(workers)
            hurrying.cancel()

    async def _hurried(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self._workers.tell_all("stop", "the service stops at once")

    async def _ended(self, workers: set[Worker]) -> None:
        """Waits for the end of workers that were told to stop; kills those that hang."""
        limit = self._patience
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                for worker in workers:
                    await worker.ended.wait()
        for worker in workers:
            if worker.state is not State.ENDED:
                logger.error("{} has not ended within {:g} s, and is killed", worker, limit)
                self._births.kill(worker.pid)
        for worker in workers:
            await worker.ended.wait()


def _first(group: BaseException | None) -> BaseException | None:
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group
