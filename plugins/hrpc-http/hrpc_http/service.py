"""An ASGI application as a hosted service."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import uvicorn
from loguru import logger

import hrpc
from hrpc import health, life, listener, plugin
from hrpc.errors import BindError, NotRunning, OptionError
from hrpc.option import checks
from hrpc_http.lifespan import App, started
from hrpc_http.requests import Requests, register_metrics

_OPTION = "hrpc_http.asgi"
_LAST = 1.0
"""Seconds that requests have to end once they are cancelled."""
_LATE = 0.1
"""Seconds that a connection, which comes in the moment in which the port is closed, has for its request."""
_OURS = frozenset(
    {"app", "host", "port", "uds", "fd", "loop", "lifespan", "interface", "log_config", "reload", "factory", "env_file"}
    | {"timeout_graceful_shutdown"}
)


def asgi(
    app: App,
    *,
    port: int,
    host: str = "0.0.0.0",
    id: str = "http",
    workers: Literal["each", "one"] = "each",
    grace: float | None = None,
    **settings: Any,
) -> Asgi:
    """An application of FastAPI, Starlette or any other framework of ASGI 3, for `hrpc.with_services` or, which is
    the same, for `hrpc.with_plugins`.

    It answers on `port` (0 is any free one, see `Asgi.port`) in the event loop of the server, for as long as gRPC is
    served. Requests that run when the server drains have `grace` seconds, those of `hrpc.with_graceful_stop` when not
    given. With workers it is there in each of them, on one port, or with ``"one"`` only in the first.
    `settings` are those of ``uvicorn.Config``, such as ``ssl_certfile`` or ``access_log``.

    Raises `OptionError`.
    """
    if not callable(app) or isinstance(app, type):
        raise OptionError(f"{_OPTION}: takes an ASGI application, such as FastAPI(), not {app!r}")
    if taken := sorted(_OURS & settings.keys()):
        raise OptionError(f"{_OPTION}: {', '.join(taken)} cannot be set, because the server decides it")
    if not isinstance(host, str) or not host:
        raise OptionError(f"{_OPTION}(host={host!r}): takes an address such as 0.0.0.0, 127.0.0.1 or ::")
    limit = None if grace is None else checks.seconds(_OPTION, "grace", grace)
    return Asgi(app, checks.port(_OPTION, port), host, id, workers, limit, settings)


def with_asgi(app: App, *, port: int, **settings: Any) -> hrpc.Option:
    """The option of `asgi`, which explains what it takes: the application is there in the life of the server.

    Raises `OptionError`.
    """
    return plugin.option("hrpc_http.with_asgi", asgi(app, port=port, **settings))


class Asgi(plugin.Plugin):
    """What `asgi` gives: an `hrpc.abc.HostedService`, and the plugin that brings it."""

    def __init__(
        self,
        app: App,
        port: int,
        host: str,
        id: str,
        workers: Literal["each", "one"],
        grace: float | None,
        settings: dict[str, Any],
    ) -> None:
        self.id = id
        self.name = "hrpc-http" if id == "http" else f"hrpc-http {id}"
        self.workers = workers
        self._app = app
        self._wanted = port
        self._host = host
        self._grace = grace
        self._settings = {"access_log": False, "log_level": "warning", **settings}
        self._socket: socket.socket | None = None
        self._requests = Requests(app, id)
        self._server: _Server | None = None
        self._port: int | None = None
        self._serves = False

    @property
    def options(self) -> Sequence[hrpc.Option]:  # type: ignore[override]
        """That which makes it a hosted service."""
        return (hrpc.with_services(self),)

    @property
    def port(self) -> int:
        """The port that was bound. Raises `NotRunning` before that."""
        if self._port is None:
            raise NotRunning(f"the HTTP service {self.id!r} has no port: it is not running")
        return self._port

    @asynccontextmanager
    async def setup(self) -> AsyncIterator[None]:
        """Binds the port and starts the application; at the end shuts it down."""
        register_metrics()
        try:
            with self._bound() as self._socket:
                self._port = self._socket.getsockname()[1]
                async with started(self._app) as state:
                    self._requests.leaves = False
                    self._server = _Server(self._config(), state)
                    health.check(self.id, self._answers)
                    yield
        finally:
            self._port = None

    async def run(self) -> None:
        """Answers until it is cancelled; then lets the running requests end."""
        sock, server = self._socket, self._server
        assert sock is not None
        assert server is not None
        await server.startup([sock])
        self._serves = True
        try:
            # What uvicorn does every second: the header with the date, and its limit of requests.
            while not await server.on_tick(0):  # noqa: ASYNC110
                await asyncio.sleep(1)
        finally:
            self._serves, self._requests.leaves = False, True
            await server.drain(sock, self.id)

    def _bound(self) -> socket.socket:
        is_shared = life.worker() is not None and self.workers == "each"
        if is_shared and self._wanted == 0:
            raise BindError(f"HTTP service {self.id!r}: with workers, choose one port for all with {_OPTION}(port=…)")
        return listener.bind(
            f"HTTP service {self.id!r}", self._host, self._wanted, f"{_OPTION}(port=…)", shared=is_shared
        )

    def _config(self) -> uvicorn.Config:
        grace = hrpc.draining().grace if self._grace is None else self._grace
        return uvicorn.Config(
            self._requests,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            timeout_graceful_shutdown=grace,  # type: ignore[arg-type] # seconds, which it only passes to asyncio
            **self._settings,
        )

    async def _answers(self) -> bool:
        return self._serves


class _Server(uvicorn.Server):
    """Uvicorn's server without a life of its own: the application is started already, signals are hrpc's."""

    def __init__(self, config: uvicorn.Config, state: dict[str, Any]) -> None:
        super().__init__(config)
        config.load()
        self.lifespan = config.lifespan_class(config)
        self.lifespan.state = state

    async def drain(self, sock: socket.socket, id: str) -> None:
        """Takes no connection any more; waits for the requests that run, for the grace or until it is cancelled."""
        told = set(self.server_state.connections)
        closing = asyncio.create_task(self.shutdown([sock]))
        try:
            await asyncio.sleep(_LATE)
            for connection in self.server_state.connections - told:
                connection.shutdown()
            await closing
        finally:
            closing.cancel()
            await self._cut_off(id)

    async def _cut_off(self, id: str) -> None:
        tasks = set(self.server_state.tasks)
        for task in tasks:
            if not task.cancelling():  # uvicorn has done so when the grace was over
                task.cancel()
        if tasks:
            logger.warning("HTTP service {!r}: {} requests had not ended and were cancelled", id, len(tasks))
            await asyncio.wait(tasks, timeout=_LAST)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
