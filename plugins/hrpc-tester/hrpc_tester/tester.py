"""The plugin: when the tester listens, and where."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc.aio
from aiohttp import web
from loguru import logger

import hrpc
import hrpc.plugin
from hrpc import life, listener
from hrpc.abc import endpoint, local
from hrpc.errors import BindError, NotRunning, OptionError, PortTaken
from hrpc.option import Environment, Option, checks
from hrpc.server.served import Served, served
from hrpc_tester.certificates import Following
from hrpc_tester.errors import TesterRefused
from hrpc_tester.site import Site

DEFAULT_PORT = 8080
"""As in the Go framework."""
_OPTION = "hrpc_tester.with_tester"
_LIMIT = 4 * 1024 * 1024
_TURNS = 10
"""Turns of the event loop in which a connection has begun that was taken just before the port was closed."""
_CHANNEL = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
"""The server has limits of its own, and says so when a message is beyond them."""


def with_tester(
    port: int = DEFAULT_PORT,
    *,
    host: str = "127.0.0.1",
    production: bool = False,
    hosts: Sequence[str] = (),
    max_body: int = _LIMIT,
) -> Option:
    """HTTP and JSON for the methods of this server, with a page to try them, on `port`; 0 is any free one.

    It listens on `host`, which is this machine alone when not given, because whoever reaches it can call every method.
    On another address of a server with certificates it shows these, and asks clients for theirs where the server does.
    `hosts` are the names under which it may be asked besides IP addresses and localhost. Bodies have at most `max_body`
    bytes. In production it does not start, but for ``production=True``.

    Raises `OptionError`.
    """
    return hrpc.plugin.option(_OPTION, Tester(port, host=host, production=production, hosts=hosts, max_body=max_body))


class Tester(hrpc.plugin.Plugin):
    """What `with_tester` makes, for `hrpc.with_plugins`; it also tells its port."""

    name = "hrpc-tester"
    id = "hrpc-tester"

    def __init__(
        self,
        port: int = DEFAULT_PORT,
        *,
        host: str = "127.0.0.1",
        production: bool = False,
        hosts: Sequence[str] = (),
        max_body: int = _LIMIT,
    ) -> None:
        """As `with_tester`."""
        self._wanted = checks.port(_OPTION, port)
        self._host = _address(host)
        for name, value in {"production": production}.items():
            if not isinstance(value, bool):
                raise OptionError(f"{_OPTION}({name}={value!r}): takes True or False")
        self._production = production
        self._hosts = _names(hosts)
        if type(max_body) is not int or max_body < 1:
            raise OptionError(f"{_OPTION}(max_body={max_body!r}): takes a number of bytes, 1 or more")
        self._max_body = max_body
        self._socket: socket.socket | None = None
        self._port: int | None = None
        self.options = (hrpc.with_services(self), Option("hrpc-tester", {"own_socket": True}))

    @property
    def port(self) -> int:
        """The port that was bound. Raises `NotRunning` before that."""
        if self._port is None:
            raise NotRunning("hrpc-tester has no port: its server is not running")
        return self._port

    @asynccontextmanager
    async def setup(self) -> AsyncIterator[None]:
        """Listens, without answering yet: who comes before the server takes calls waits for it.

        Raises `TesterRefused` in production. A job has no tester there, and none is refused.
        """
        self._check_environment(served().settings.environment)
        is_shared = life.worker() is not None
        if is_shared and self._wanted == 0:
            raise BindError(f"hrpc-tester: with workers, choose one port for all with {_OPTION}(port=…)")
        try:
            with listener.bind(
                "hrpc-tester", self._host, self._wanted, f"{_OPTION}(port=…)", shared=is_shared
            ) as self._socket:
                self._port = self._socket.getsockname()[1]
                try:
                    self._socket.listen()
                except OSError as error:
                    raise PortTaken("hrpc-tester", endpoint(self._host, self._port), f"{_OPTION}(port=…)") from error
                yield
        finally:
            self._port = None

    async def run(self) -> None:
        """Answers until it is cancelled; then lets the running requests end."""
        server = served()
        assert server.target is not None
        async with grpc.aio.insecure_channel(server.target, options=_CHANNEL) as channel:
            # Of a thousand methods this takes as long as many calls.
            site = await asyncio.to_thread(Site, server, channel, self._hosts)
            app = web.Application(client_max_size=self._max_body)
            app.router.add_route("*", "/{path:.*}", site.answer)
            runner = web.AppRunner(
                app,
                access_log=None,
                handle_signals=False,
                handler_cancellation=True,
                shutdown_timeout=hrpc.draining().grace,
            )
            await runner.setup()
            try:
                await self._listen(runner, server)
                await asyncio.get_running_loop().create_future()
            finally:
                site.drains = True
                await _drain(runner)

    def _check_environment(self, environment: Environment) -> None:
        if environment is not Environment.PRODUCTION:
            return
        if not self._production:
            raise TesterRefused(
                "hrpc-tester lets whoever reaches it call every method, so it is not for production: leave out "
                f"{_OPTION}() there, or pass production=True when that is what you want"
            )
        logger.warning("hrpc-tester serves in production, because {}(production=True) says so", _OPTION)

    async def _listen(self, runner: web.AppRunner, server: Served) -> None:
        assert self._socket is not None
        tls = None
        if server.certificates is not None and not _is_loopback(self._host):
            tls = Following(server.certificates).context
        await web.SockSite(runner, self._socket, ssl_context=tls).start()
        where = endpoint(local(self._host), self.port)
        logger.info("hrpc-tester: methods can be tried on {}://{}/", "http" if tls is None else "https", where)


async def _drain(runner: web.AppRunner) -> None:
    """Takes no connection any more, and lets the running requests end; when it is cancelled, cuts them off."""
    for site in tuple(runner.sites):
        await site.stop()
    connections = runner.server
    assert connections is not None
    try:
        # aiohttp would never read from a connection that came in this moment, and would wait for it all the same.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        await runner.cleanup()
    except asyncio.CancelledError:
        for connection in connections.connections:
            connection.force_close()
        raise


def _address(host: object) -> str:
    try:
        return str(ipaddress.ip_address(host if isinstance(host, str) else ""))
    except ValueError:
        raise OptionError(f"{_OPTION}(host={host!r}): takes an IP address, such as 127.0.0.1 or 0.0.0.0") from None


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _names(hosts: object) -> frozenset[str]:
    if isinstance(hosts, str) or not isinstance(hosts, Sequence):
        raise OptionError(f"{_OPTION}(hosts={hosts!r}): takes a list of host names")
    return frozenset(checks.host(f"{_OPTION}(hosts=…)", host).lower() for host in hosts)
