"""The consumer of a subscription: a hosted service, which takes messages for as long as the server takes calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from loguru import logger

from hrpc import leaving
from hrpc.errors import HrpcError
from hrpc.pauses import Pauses
from hrpc.queues.contract import Broker, Delivery
from hrpc.queues.handling import Handling
from hrpc.queues.measured import measured
from hrpc.queues.subscription import Subscription

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 15.0
"""Seconds before consuming begins anew after an error, with jitter; and after how many it was well again."""
_LAST = 1.0
"""Seconds that handlers have to end once they are cancelled."""


class Consumer:
    """An `hrpc.abc.HostedService`. With workers it is there in each of them, and their group shares the messages."""

    def __init__(
        self, queue: str, subscription: Subscription, broker: Callable[[], Broker], longest: float | None
    ) -> None:
        """`queue` is the name of the message queue, `broker` gives the open one. At a stop, handlers have the grace of
        the server, but no more than `longest` seconds with what it takes to cancel them."""
        self.id = f"{queue}: {subscription.name}"
        self.queue = queue
        self.failure: str | None = None
        """Why nothing is consumed now; None when it is."""
        self._subscription = subscription
        self._broker = broker
        self._longest = longest
        self._handling = Handling(queue, subscription)
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(subscription.concurrency)

    @asynccontextmanager
    async def setup(self) -> AsyncIterator[None]:
        """What it needs is open already."""
        measured()
        yield

    async def run(self) -> None:
        """Consumes until it is cancelled; then lets the running handlers end. An error of the broker is no end."""
        pauses = Pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._consume()
                why: str | Exception = "the broker gives no more messages"
            except Exception as error:  # noqa: BLE001 - whatever it is, calls are served meanwhile, and readiness tells
                why = error
            if loop.time() - began > _LONGEST_PAUSE:
                pauses.begin_anew()
            pause = pauses.next()
            self._failed(why, pause)
            await asyncio.sleep(pause)

    def _failed(self, why: str | Exception, pause: float) -> None:
        self.failure = _told(why)
        log = logger if isinstance(why, str | HrpcError) else logger.opt(exception=why)
        log.error("{}: consumes nothing, and begins anew after {:.1f} s: {}", self.id, pause, self.failure)

    async def _consume(self) -> None:
        async with self._broker().consume(self._subscription) as deliveries:
            if self.failure is not None:
                logger.info("{}: consumes again", self.id)
            self.failure = None
            try:
                await self._take(deliveries)
            except Exception as error:
                self.failure = _told(error)  # already while the running handlers have time to end
                raise
            finally:
                try:
                    if callable(leave := getattr(deliveries, "aclose", None)):
                        await leave()
                finally:
                    await self._end()

    async def _take(self, deliveries: AsyncIterator[Delivery]) -> None:
        while True:
            await self._room.acquire()
            try:
                delivery = await anext(deliveries)
            except BaseException as error:
                self._room.release()
                if isinstance(error, StopAsyncIteration):
                    return
                raise
            task = asyncio.create_task(self._handling.handle(delivery), name=f"hrpc: {self.id}")
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.opt(exception=error).error("{}: a message was not ended, and comes again", self.id)

    async def _end(self) -> None:
        """Lets the running handlers end, for the grace of the server: a cancel is its stop, one more a hurry."""
        running = set(self._running)
        if not running:
            return
        task = asyncio.current_task()
        stops = task is not None and task.cancelling() > 0
        try:
            try:
                await asyncio.wait(running, timeout=self._grace())
            except asyncio.CancelledError:
                if not stops:  # it begins to, and the time that they had when the broker was lost is not its grace
                    await asyncio.wait(running, timeout=self._grace())
                raise
        finally:
            late = {task for task in running if not task.done()}
            for task in late:
                task.cancel()
            if late:
                logger.warning("{}: {} handlers had not ended and were cancelled", self.id, len(late))
                await asyncio.wait(late, timeout=_LAST)

    def _grace(self) -> float:
        grace = leaving.draining().grace
        return grace if self._longest is None else max(0.0, min(grace, self._longest - 2 * _LAST))


def _told(why: str | Exception) -> str:
    return str(why) if isinstance(why, str | HrpcError) else type(why).__name__
