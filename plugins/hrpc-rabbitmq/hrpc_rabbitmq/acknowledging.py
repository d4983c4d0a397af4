"""Acknowledging: several messages at once where they have ended together."""

from __future__ import annotations

import asyncio
from bisect import bisect

from aiormq import Channel

from hrpc_rabbitmq import errors

_SOON = 0.005
"""Seconds that an end waits at most for others."""


class Acknowledging:
    """The ends of what one channel has delivered.

    The broker numbers deliveries, and takes one number for all up to it. A message that is sent for each of them would
    cost more than all else that is done for a message: it is a system call.
    """

    def __init__(self, channel: Channel, at_most: int) -> None:
        """`at_most` is how many wait for each other."""
        self._channel = channel
        self._at_most = at_most
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, None] = {}
        """What has no end yet; the first is the lowest, because the broker counts."""
        self._ended: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def delivered(self, number: int) -> None:
        """The message with this number is here, and has no end yet."""
        self._open[number] = None

    def done(self, number: int) -> None:
        """The message with this number is to be acknowledged."""
        self._open.pop(number, None)
        self._ended.add(number)
        if len(self._ended) >= self._at_most:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_SOON, self.flush)

    def told(self, number: int) -> None:
        """The message with this number has an end of which the broker was told."""
        self._open.pop(number, None)

    def flush(self) -> None:
        """Acknowledges now, as far as it is not done already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ended and (self._sending is None or self._sending.done()):
            self._sending = self._loop.create_task(self._send())

    async def flushed(self) -> None:
        """The same; returns when all is on its way."""
        self.flush()
        while self._sending is not None and not self._sending.done():
            await asyncio.wait({self._sending})
            self.flush()

    async def _send(self) -> None:
        try:
            while self._ended and not self._channel.is_closed:
                until, rest = self._taken()
                if until:
                    await self._channel.basic_ack(until, multiple=True, wait=False)
                for number in rest:
                    await self._channel.basic_ack(number, wait=False)
        except errors.FAILURES as error:
            errors.pass_cancel(error)

    def _taken(self) -> tuple[int, list[int]]:
        """The highest number before which all have ended, 0 for none that is new, and those above it."""
        ended, first = sorted(self._ended), next(iter(self._open), None)
        self._ended.clear()
        before = len(ended) if first is None else bisect(ended, first)
        return (ended[before - 1] if before else 0), ended[before:]
