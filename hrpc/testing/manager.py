"""A server with hosted services under test: reached by gRPC, told by signals, and asked how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty

from hrpc.errors import HrpcError, NotRunning
from hrpc.health.ping import PATH
from hrpc.server import Server
from hrpc.server.signals import taken


class Managed:
    """A server that runs, as a test sees it; see `managed`."""

    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.channel = channel
        """A connection to it, which is closed with the test."""
        self._takes_signals = False

    @property
    def services(self) -> tuple[str, ...]:
        """The ids of its hosted services, in the order of `hrpc.with_services`."""
        return tuple(service.id for service in self.server.settings.hosted.services)

    async def ping(self, timeout: float = 5.0) -> None:
        """Asks for a sign of life, and waits for the connection meanwhile, `timeout` seconds for both.

        Raises ``grpc.aio.AioRpcError``: UNIMPLEMENTED from a server without `hrpc.with_ping`.
        """
        ping = self.channel.unary_unary(PATH, Empty.SerializeToString, Empty.FromString)
        await ping(Empty(), timeout=timeout, wait_for_ready=True)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to this process, which means to the server what it means in production.

        Raises `NotRunning` when the server takes none, as outside of the main thread: it would end the tests.
        """
        if not self._takes_signals or not signal.getsignal(number):
            raise NotRunning(
                f"hrpc.testing: {number.name} would reach no server here; run the test in the main thread, and send "
                "signals before the server has ended"
            )
        os.kill(os.getpid(), number)

    async def ended(self, limit: float = 30.0) -> HrpcError | None:
        """Waits until it has ended, by itself or because it was told to; gives what went wrong, None when nothing did.

        Raises TimeoutError after `limit` seconds.
        """
        async with asyncio.timeout(limit):
            await self.server.wait_for_shutdown()
        try:
            await self.server.stop()
        except HrpcError as error:
            return error
        return None

    @asynccontextmanager
    async def _signals(self) -> AsyncIterator[None]:
        running = self.server._running
        assert running is not None
        with taken(running):
            self._takes_signals = threading.current_thread() is threading.main_thread()
            try:
                yield
            finally:
                self._takes_signals = False


@asynccontextmanager
async def managed(server: Server) -> AsyncIterator[Managed]:
    """Runs a server without TLS in the event loop of a test, and takes signals for it as ``server.serve()`` does.

    At the end it is stopped, and what went wrong is raised, unless `Managed.ended` has given it.

    ::

        async with hrpc.testing.managed(server) as manager:
            await manager.ping()
            manager.send(signal.SIGTERM)
            assert await manager.ended() is None

    Raises what ``async with server`` raises: `StartError`, and `ManagerError` when hosted services fail.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        manager = Managed(server, channel)
        await stack.enter_async_context(manager._signals())
        yield manager
