"""The embedded agent: an async context manager, or a thread for programs without a loop of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from loguru import logger

from hrpc.abc import endpoint
from hrpc.errors import BindError, OptionError, PortTaken
from hrpc.listener import bind
from hrpc.testing.consul.agent import Agent
from hrpc.testing.consul.api.acl import ACLRoutes
from hrpc.testing.consul.api.agent import AgentRoutes
from hrpc.testing.consul.api.app import application
from hrpc.testing.consul.api.check import CheckRoutes
from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.health import HealthRoutes
from hrpc.testing.consul.api.kv import KVRoutes
from hrpc.testing.consul.api.session import SessionRoutes
from hrpc.testing.consul.api.status import StatusRoutes
from hrpc.testing.consul.api.txn import TxnRoutes
from hrpc.testing.consul.catalog import Catalog
from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.checks import Checks
from hrpc.testing.consul.kv import VALUE_LIMIT, Store
from hrpc.testing.consul.sessions import Sessions

VERSION = "1.8.7"
"""The Consul that this agent follows, and that it says it is."""

NODE = "hrpc-dev"
_EXIT_LIMIT = 5.0

Value = Mapping[str, Any] | Sequence[Any] | str | bytes


class DevConsul:
    """A fake Consul agent for development and tests: the part of the HTTP API that hrpc uses, in this process.

    ::

        async with DevConsul(kv={"development/databases/mysql": {"address": "127.0.0.1:3306"}}) as consul:
            hrpc.Consul(address=consul.address)

    It keeps nothing: each time it is entered it begins empty, with `kv` in its store (objects and arrays as JSON).
    Checks really run. Port 0 is any free one. With a `token`, requests without it are refused as by an agent with ACLs
    and the default policy deny. `interval_minimum` and `deregister_minimum` are what Consul raises a check's interval
    and its DeregisterCriticalServiceAfter to, in seconds; make them smaller for quick tests.

    Raises `OptionError` for the production environment, for which this is not made; on entering, `PortTaken` or
    `BindError`.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        kv: Mapping[str, Value] | None = None,
        environment: str = "development",
        token: str | None = None,
        datacenter: str = "dc1",
        interval_minimum: float = 1.0,
        deregister_minimum: float = 60.0,
    ) -> None:
        if environment == "production":
            raise OptionError(
                "DevConsul is a fake that forgets everything, for development and tests: it does not run in the "
                "production environment. Give the address of a real agent with hrpc.with_consul, or choose another "
                "environment"
            )
        self._port = port
        self._host = host
        self._kv = {key: _encoded(key, value) for key, value in (kv or {}).items()}
        self._gate = Gate(token, datacenter)
        self._datacenter = datacenter
        self._interval_minimum = interval_minimum
        self._deregister_minimum = deregister_minimum
        self._address: str | None = None
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """``host:port`` that was bound, such as ``127.0.0.1:8500``; raises RuntimeError outside of the context."""
        if self._address is None:
            raise RuntimeError("DevConsul has an address only while it runs: use `async with DevConsul() as consul`")
        return self._address

    async def __aenter__(self) -> Self:
        # In a task of its own: a fixture may enter and leave in different tasks, which a task group does not allow.
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run(started), name="DevConsul")
        try:
            await asyncio.wait([started, self._task], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if not started.done():
            await self._task
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._task is not None:
            await self._task

    @classmethod
    @contextmanager
    def in_thread(cls, *args: Any, **options: Any) -> Iterator[Self]:
        """The agent in a daemon thread with a loop of its own, which answers while this thread blocks.

        Takes what the class takes, and raises what entering it raises.
        """
        consul = cls(*args, **options)
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()

        async def run() -> None:
            try:
                async with consul:
                    started.set_result(asyncio.get_running_loop())
                    await consul._ending.wait()
            except BindError as error:
                started.set_exception(error)
            finally:
                # Whatever else went wrong must not leave the other thread waiting.
                started.cancel()

        thread = threading.Thread(target=asyncio.run, args=(run(),), name="DevConsul", daemon=True)
        thread.start()
        loop = started.result()
        try:
            yield consul
        finally:
            loop.call_soon_threadsafe(consul._ending.set)
            thread.join(_EXIT_LIMIT)

    async def _run(self, started: asyncio.Future[None]) -> None:
        async with AsyncExitStack() as stack:
            # Before the task group, which would wrap the error of a port that is taken.
            sock = stack.enter_context(_listening(self._host, self._port))
            session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
            )
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            changes = Changes()
            catalog = Catalog(changes, self._datacenter, NODE, self._host)
            checks = Checks(catalog, tasks, session, self._interval_minimum, self._deregister_minimum)
            stack.callback(checks.stop_all)
            sessions = Sessions(changes)
            stack.callback(sessions.stop_all)
            routes = self._routes(changes, catalog, checks, sessions)
            await stack.enter_async_context(_served(application(routes), sock))
            # Before the server ends, so that it does not wait for queries that wait for a change.
            stack.callback(changes.close)
            self._address = endpoint(self._host, sock.getsockname()[1])
            logger.info(
                "DevConsul at {}: a fake Consul for development and tests, which forgets everything at its end",
                self._address,
            )
            started.set_result(None)
            try:
                await self._ending.wait()
            finally:
                self._address = None

    def _routes(self, changes: Changes, catalog: Catalog, checks: Checks, sessions: Sessions) -> list[web.RouteDef]:
        agent, store, gate = Agent(catalog, checks), Store(changes, sessions), self._gate
        for key, value in self._kv.items():
            store.put(key, value)
        return [
            *AgentRoutes(agent, catalog, changes, gate, VERSION).routes(),
            *CheckRoutes(agent, catalog, gate).routes(),
            *HealthRoutes(catalog, changes, gate).routes(),
            *KVRoutes(store, changes, gate).routes(),
            *SessionRoutes(sessions, changes, gate, NODE).routes(),
            *TxnRoutes(store, gate).routes(),
            *ACLRoutes(gate).routes(),
            *StatusRoutes(gate, endpoint(self._host, 8300)).routes(),
        ]


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    with bind("DevConsul", host, port, "DevConsul(port=…)") as sock:
        try:
            sock.listen()
        except OSError as error:
            raise PortTaken("DevConsul", endpoint(host, port), "DevConsul(port=…)") from error
        yield sock


@asynccontextmanager
async def _served(app: web.Application, sock: socket.socket) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=1.0)
    try:
        await runner.setup()
        await web.SockSite(runner, sock).start()
        yield
        # asyncio hands an accepted connection over some rounds later, and drops it unclosed if the server is closed by
        # then (CPython 3.11). So accept no more, and let those arrive that were accepted.
        asyncio.get_running_loop().remove_reader(sock)
        for _ in range(3):
            await asyncio.sleep(0)
    finally:
        await runner.cleanup()


def _encoded(key: str, value: Value) -> bytes:
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    encoded = text.encode() if isinstance(text, str) else text
    if not key or len(encoded) > VALUE_LIMIT:
        raise OptionError(f"DevConsul(kv=…): key {key!r} takes a name, and a value of at most {VALUE_LIMIT} bytes")
    return encoded
