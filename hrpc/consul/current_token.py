"""The token that the requests to one agent use, and the blocking queries that are asked again when it changes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from consul import base
from loguru import logger

from hrpc.consul import token
from hrpc.consul.token import Token

ASKED_AGAIN = 50
"""Blocking queries that are all asked again at once when the token changes."""


class CurrentToken:
    """`value` is what new requests use; it is changed in the event loop of the transport that has it."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self.value = token.value
        self._look = asyncio.Lock()
        self._looked = -math.inf
        self._on_change: list[Callable[[], None]] = []
        self._queries: dict[asyncio.Timeout, str] = {}

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back, in the event loop, when the file holds another token."""
        self._on_change.append(callback)

    async def follow(self) -> None:
        """Looks for another token in its file, until cancelled."""
        while self.token.path is not None:
            await asyncio.sleep(token.FOLLOW_INTERVAL)
            await self.refresh()

    async def refresh(self) -> None:
        """Looks now, and has blocking queries asked again when there is another."""
        if self.token.path is not None:
            wanted = time.monotonic()
            # Many requests can be denied at once: the look that the first of those who wait here takes is for all.
            async with self._look:
                if self._looked < wanted:
                    self._looked = time.monotonic()
                    await asyncio.to_thread(self.token.refresh)
        if self.token.value == self.value:
            return
        self.value = self.token.value
        logger.info("Consul: the token file {!r} holds another token, which is used from now on", self.token.path)
        for callback in self._on_change:
            callback()
        # An agent counts a connection that was left until the wait of its query is over, and takes only so many. When
        # they are many, those that follow others have the token with their next question.
        few = len(self._queries) <= ASKED_AGAIN
        for query, path in list(self._queries.items()):
            if few or path.startswith("/v1/agent/"):
                del self._queries[query]
                query.reschedule(0)

    async def until_changed(self, path: str, sending: Awaitable[base.Response]) -> base.Response | None:
        """The answer of a blocking query; None when the token has changed before it."""
        try:
            async with asyncio.timeout(None) as held:
                self._queries[held] = path
                try:
                    return await sending
                finally:
                    self._queries.pop(held, None)
        except TimeoutError:
            if not held.expired():
                raise
            return None
