"""All that callers, probes and operators do to a service, side by side."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.echo import SERVICE, call
from tests.process import Process

PAUSE = 0.02
"""Seconds between two calls of one kind: the machine is to be busy, and not full."""


class Mixed:
    """What it has done so far, by kind; `wrong` is what did not end as it had to."""

    def __init__(self, target: str, found: grpc.aio.Channel, health: str, metrics: str, process: Process) -> None:
        self.done: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self._target = target
        self._direct = grpc.aio.insecure_channel(target)
        self._found = found
        self._urls = (f"{health}/", f"{health}/healthx/liveness", f"{metrics}/metrics")
        self._process = process
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Does it all while the context lasts."""
        kinds = (
            *(self.echo, self.in_thread, self.found, self.asks, self.large, self.responses, self.requests, self.both),
            *(self.failing, self.late, self.cancelled, self.left, self.connecting, self.garbage, self.watch),
        )
        async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as session, self._direct:
            for kind in kinds:
                tasks.create_task(self._repeat(kind, PAUSE))
            tasks.create_task(self._repeat(lambda: self.asked(session), 1.0))
            tasks.create_task(self._repeat(self.restart, 2.0))
            try:
                yield
            finally:
                self._ended.set()
                await asyncio.sleep(1)  # for calls that are under way, before their channel is closed

    async def _repeat(self, kind: Callable[[], Awaitable[None]], pause: float) -> None:
        name = getattr(kind, "__name__", "asked")
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(30):
                    await kind()
            except (grpc.aio.AioRpcError, AssertionError, OSError, TimeoutError) as error:
                told = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.aio.AioRpcError) else error
                self.wrong[f"{name}: {told!r}"] += 1
            self.done[name] += 1
            await asyncio.sleep(random.uniform(0.5, 1.5) * pause)

    async def echo(self) -> None:
        assert await call(self._direct, "Echo", b"x" * random.randrange(2000), timeout=20) is not None

    async def in_thread(self) -> None:
        assert await call(self._direct, "EchoInThread", timeout=20) == b"x"

    async def found(self) -> None:
        assert await call(self._found, "Echo", timeout=20) == b"x"

    async def asks(self) -> None:
        assert await call(self._found, "Asks", timeout=20) == b"x"

    async def large(self) -> None:
        assert len(await call(self._direct, "Echo", b"x" * 500_000, timeout=20)) == 500_000
        await asyncio.sleep(0.1)

    async def responses(self) -> None:
        for name in ("Repeat", "RepeatInThread"):
            repeat: Any = self._direct.unary_stream(f"/{SERVICE}/{name}")
            assert [answer async for answer in repeat(b"x", timeout=20)] == [b"x"] * 3

    async def requests(self) -> None:
        join: Any = self._direct.stream_unary(f"/{SERVICE}/Join")
        assert await join(iter([b"a", b"b"]), timeout=20) == b"ab"

    async def both(self) -> None:
        each: Any = self._direct.stream_stream(f"/{SERVICE}/Each")
        assert [answer async for answer in each(iter([b"a", b"b"]), timeout=20)] == [b"a", b"b"]

    async def failing(self) -> None:
        await self._ends_with(grpc.StatusCode.INTERNAL, call(self._direct, "Fails", timeout=20))
        await self._ends_with(grpc.StatusCode.UNIMPLEMENTED, call(self._direct, "Nowhere", timeout=20))
        await asyncio.sleep(0.1)

    async def late(self) -> None:
        await self._ends_with(grpc.StatusCode.DEADLINE_EXCEEDED, call(self._direct, "TakesLong", b"10", timeout=0.02))

    async def cancelled(self) -> None:
        running = call(self._direct, "TakesLong", b"10", timeout=20)
        await asyncio.sleep(random.uniform(0, 0.05))
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def left(self) -> None:
        """A stream whose reader goes away in its middle."""
        repeat: Any = self._direct.unary_stream(f"/{SERVICE}/Repeat")
        running = repeat(b"x", timeout=20)
        await running.read()
        running.cancel()

    async def connecting(self) -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._target, own) as channel:
            assert await call(channel, "Echo", timeout=20) == b"x"
        await asyncio.sleep(0.05)

    async def garbage(self) -> None:
        host, _, port = self._target.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(random.randbytes(random.randrange(200)))
        with suppress(OSError):
            await writer.drain()
        writer.close()
        await asyncio.sleep(0.05)

    async def watch(self) -> None:
        watching: Any = health_pb2_grpc.HealthStub(self._direct).Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()

    async def asked(self, session: aiohttp.ClientSession) -> None:
        for url in self._urls:
            async with session.get(url) as answer:
                assert answer.status == 200, f"{url}: {await answer.text()}"

    async def restart(self) -> None:
        self._process.send(signal.SIGHUP)

    async def _ends_with(self, code: grpc.StatusCode, calling: Awaitable[Any]) -> None:
        try:
            await calling
        except grpc.aio.AioRpcError as error:
            if error.code() is not code:
                raise
        else:
            raise AssertionError(json.dumps(f"it has ended without {code.name}"))
