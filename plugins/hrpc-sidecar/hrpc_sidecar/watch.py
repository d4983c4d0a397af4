"""The stream of events, followed for as long as somebody listens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import aiohttp
from aiohttp.http import HttpProcessingError

from hrpc_sidecar import place
from hrpc_sidecar.errors import (
    WatchError,
    WatchHttpStatusError,
    WatchSilent,
    WatchStreamClosed,
    WatchUnreachable,
    reason,
)
from hrpc_sidecar.events import DISCONNECTED, ConnectionEvent, event_of
from hrpc_sidecar.frames import LARGEST_FRAME, Frames

LONGEST = 8
"""Intervals between two attempts, at most, at an agent that answers, but again and again with something else than
events."""

PATIENCE = 10
"""Such answers after which it is asked less and less often: one that starts may need that long."""


class WatchSource:
    """Connects to the agent's stream again and again."""

    def __init__(
        self,
        watch_url: str | None = None,
        *,
        base_url: str = place.DEFAULT_BASE_URL,
        reconnect_interval: float = 1.0,
        idle_limit: float | None = 60.0,
        timeout: float = 3.0,
        largest_frame: int = LARGEST_FRAME,
    ) -> None:
        """`watch_url`: that of `base_url` with ``/watch`` unless given. Raises `WatchUrlRequired`.

        `idle_limit`: seconds after which a stream that sends nothing is left; None for never. `timeout`: seconds for
        the connection and the beginning of the answer. `largest_frame`: bytes.
        """
        self.watch_url = place.watch_url(watch_url, base_url)
        self._interval = reconnect_interval
        self._idle_limit = idle_limit
        self._timeout = timeout
        self._largest_frame = largest_frame

    async def subscribe(self) -> AsyncGenerator[ConnectionEvent, None]:
        """The events; each end of the stream is one `DISCONNECTED` with its error. It has no end of its own."""
        answered_badly = 0
        while True:
            seen = False
            try:
                async with aclosing(self._events()) as events:
                    async for event in events:
                        seen = True
                        yield event
            except WatchError as error:
                answered_badly = 0 if seen or isinstance(error, WatchUnreachable) else answered_badly + 1
                yield ConnectionEvent(type=DISCONNECTED, error=error)
            await asyncio.sleep(pause(self._interval, answered_badly))

    async def _events(self) -> AsyncGenerator[ConnectionEvent, None]:
        """Those of one stream. Raises the `WatchError` that ends it."""
        frames = Frames(self._largest_frame)
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                for frame in frames.feed(chunk):
                    if (event := event_of(frame)) is not None:
                        yield event
        for frame in frames.end():
            if (event := event_of(frame)) is not None:
                yield event
        raise WatchStreamClosed(f"GET {self.watch_url}: the sidecar-agent has ended the stream of events")

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        begun = False
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                await self._opened(session) as response,
            ):
                begun = True
                if response.status != 200:
                    raise WatchHttpStatusError(self.watch_url, response.status)
                while chunk := await self._next(response.content):
                    yield chunk
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            why = reason(error)
            if begun:
                raise WatchStreamClosed(f"GET {self.watch_url}: the stream of events was cut: {why}") from error
            raise WatchUnreachable(f"GET {self.watch_url}: {why}") from error

    async def _opened(self, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        try:
            async with asyncio.timeout(self._timeout):
                return await session.get(self.watch_url, headers=headers, allow_redirects=False)
        except TimeoutError as error:
            raise WatchUnreachable(f"GET {self.watch_url}: no answer within {self._timeout:g} s") from error

    async def _next(self, content: aiohttp.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._idle_limit):
                return await content.readany()
        except TimeoutError as error:
            raise WatchSilent(self.watch_url, self._idle_limit or 0.0) from error


def pause(interval: float, answered_badly: int) -> float:
    """Seconds to wait before the next attempt: less than the interval, so that a service is there again within it, and
    not the same for all services of a machine.

    An agent that is away is tried at this rate for ever: on the same machine, that costs next to nothing. One that
    answers with something else than events is asked less and less often.
    """
    return interval * random.uniform(0.6, 0.85) * min(LONGEST, 1 << min(16, max(0, answered_badly - PATIENCE)))
