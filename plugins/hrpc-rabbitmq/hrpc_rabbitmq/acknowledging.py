"""Acknowledging: several messages at once where they have ended together."""

from __future__ import annotations

import asyncio

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
        self._settled = 0
        """All up to this number have an end that the broker knows."""
        self._ended: set[int] = set()
        self._known: set[int] = set()
        """Those above whose end the broker knows already."""
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def done(self, number: int) -> None:
        """The message with this number is to be acknowledged."""
        self._ended.add(number)
        if len(self._ended) >= self._at_most:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_SOON, self.flush)

    def told(self, number: int) -> None:
        """The message with this number has an end of which the broker was told."""
        self._known.add(number)

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
        """The number up to which all have ended, 0 for none that is new, and those above it."""
        until, acknowledges = self._settled, 0
        while (number := until + 1) in self._ended or number in self._known:
            if number in self._ended:
                self._ended.discard(number)
                acknowledges = number
            self._known.discard(number)
            until = number
        self._settled = until
        rest = sorted(self._ended)
        self._known.update(rest)
        self._ended.clear()
        return acknowledges, rest
