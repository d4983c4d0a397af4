"""Services whose instances come and go at random, and a model of what Consul says of them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import grpc.aio

from hrpc import service
from tests.echo import call
from tests.faults.used import endpoints

SLOTS = 5
"""Instances that a service has at most."""
LIMIT = 30.0
"""Seconds after which a change that was not seen fails the test."""
_LOOK = 0.002


class Churning:
    """One service. Its instances are `slots`: a few real servers that all services share, by the name they answer."""

    def __init__(self, name: str, slots: Mapping[bytes, int], agent: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self.model: set[bytes] = set()
        self.lags: list[float] = []
        self.held: list[float] = []
        self.answers: Counter[str] = Counter()
        self._slots = slots
        self._agent = f"http://{agent}/v1/agent/service"
        self._session = session
        self._used: set[bytes] = set()

    async def change(self, *, to_none: bool = False) -> None:
        """One instance comes or goes, or all go; ends when the channel uses what is there now."""
        slot = random.choice(list(self._slots))
        gone = set(self.model) if to_none else self.model & {slot}
        if gone and gone == self.model and not to_none:
            return  # the last one stays
        come = set() if gone else {slot}
        self.model = (self.model - gone) | come
        began = time.monotonic()
        for each in gone:
            await self._put(f"deregister/{self.name}-{each.decode()}")
        for each in come:
            entry = {"ID": f"{self.name}-{each.decode()}", "Name": self.name, "Address": "127.0.0.1"}
            await self._put("register", **entry, Port=self._slots[each], Tags=["development"])
        # What Consul has answered, it has told the watches as well; a list is held from some time before that.
        await self._seen(time.monotonic() if self.model else began)
        self._used = set(self.model)

    async def _seen(self, began: float) -> None:
        expected = {f"127.0.0.1:{self._slots[slot]}" for slot in self.model}
        channel = service.channel(self.name)
        limit = began + LIMIT
        while (found := endpoints(channel)) != expected:
            now = time.monotonic()
            assert now < limit, f"{self.name}: Consul has said {expected} for {LIMIT} s, the channel uses {found}"
            await asyncio.sleep(_LOOK)
        lags = self.lags if expected else self.held
        lags.append(time.monotonic() - began)

    async def ask(self) -> None:
        """One call, answered by an instance that is there, or by one whose leaving has not been seen yet."""
        allowed = self.model | self._used
        none_allowed = not self.model or not self._used
        try:
            answer = await call(service.channel(self.name), "Name", timeout=10)
        except grpc.aio.AioRpcError as error:
            none = none_allowed or not self.model
            self.answers["none" if none else f"{error.code().name}: {error.details()}"] += 1
        else:
            self.answers["good" if answer in allowed | self.model else "by an instance that has left"] += 1

    async def ask_all(self) -> None:
        """As many calls as reach each instance; each one has to have answered, and nobody else."""
        before = set(self.model)
        answered = {await call(service.channel(self.name), "Name", timeout=10) for _ in range(2 * len(before))}
        assert answered == before == self.model, f"{self.name}: {answered} have answered, Consul says {before}"

    async def live(self, ended: asyncio.Event, pause: float, *, empties: bool) -> None:
        """Changes until the end, with this pause on average."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(random.expovariate(1 / pause)):
                    await ended.wait()
                    return
            await self.change(to_none=empties and len(self.model) > 1 and random.random() < 0.3)
            if self.model and random.random() < 0.2:
                await self.ask_all()

    async def _put(self, path: str, **body: Any) -> None:
        async with self._session.put(f"{self._agent}/{path}", data=json.dumps(body)) as response:
            assert response.status == 200, await response.text()
