"""Listening on a TCP port, with errors that say which port and which option to change."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from hrpc.abc import endpoint
from hrpc.errors import BindError, PortTaken

if TYPE_CHECKING:
    from aiohttp import web


def bind(purpose: str, host: str, port: int, option: str, *, shared: bool = False) -> socket.socket:
    """A bound TCP socket that shares its port with nobody, or with those that say so as well; port 0 takes a free one.

    `purpose` and `option` are for the error: what the port is for, and what to change.
    Raises `PortTaken` or `BindError`.
    """
    where = endpoint(host, port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except OSError as error:
        raise BindError(f"{purpose}: {host!r} is not an IP address of an interface; change it in {option}") from error
    sock = socket.socket(family, kind, protocol)
    try:
        # Only past connections may linger on the port (TIME_WAIT); a listener on it is an error.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(purpose, where, option) from error
        if error.errno == errno.EACCES:
            raise BindError(
                f"{purpose}: no permission to listen on {where}; choose a port above 1023 with {option}"
            ) from error
        raise BindError(f"{purpose}: cannot listen on {where}: {error.strerror}; change it in {option}") from error
    return sock


def unused(purpose: str, host: str, port: int, option: str) -> None:
    """Makes sure that nobody listens on the port, or holds it. Raises `PortTaken` or `BindError`."""
    # Not by listening, if only for a moment: a connection that is made just then would be reset.
    bind(purpose, host, port, option).close()


def held(purpose: str, host: str, port: int, option: str) -> socket.socket:
    """A socket that keeps a port for those processes of ours that listen on it, and does not listen itself.

    Port 0 takes a free one. Raises `PortTaken` or `BindError`, also when the port belongs to somebody who would share
    it: those that it is kept for bind with SO_REUSEPORT, after this.
    """
    sock = bind(purpose, host, port, option)
    # Until somebody listens, all who bind with SO_REUSEADDR would get the port, a second one of this service first.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    # Only now, so that it was not shared with a stranger.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


@asynccontextmanager
async def serve_http(
    purpose: str,
    host: str,
    port: int,
    option: str,
    routes: Mapping[str, Callable[[web.Request], Awaitable[web.Response]]],
    posts: Mapping[str, Callable[[web.Request], Awaitable[web.Response]]] = MappingProxyType({}),
) -> AsyncIterator[int]:
    """Answers GET on these paths, and POST on those of `posts`, until the context ends; gives the port."""
    from aiohttp import web

    app = web.Application()
    app.add_routes([web.get(path, handler) for path, handler in routes.items()])
    app.add_routes([web.post(path, handler) for path, handler in posts.items()])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    sock = bind(purpose, host, port, option)
    try:
        await runner.setup()
        try:
            await web.SockSite(runner, sock).start()
        except OSError as error:
            raise PortTaken(purpose, endpoint(host, port), option) from error
        yield sock.getsockname()[1]
    finally:
        await runner.cleanup()
        sock.close()
