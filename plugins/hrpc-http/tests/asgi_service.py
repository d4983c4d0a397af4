"""Servers with an application beside gRPC, and one that keeps its requests waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import hrpc
import hrpc_http
from tests.echo import add_echo


def beside(http: hrpc_http.Asgi, *options: hrpc.Option) -> hrpc.Server:
    server = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_services(http),
        *options,
    )
    add_echo(server)
    return server


def local(app: Any, **settings: Any) -> hrpc_http.Asgi:
    return hrpc_http.asgi(app, port=0, host="127.0.0.1", **settings)


@asynccontextmanager
async def client(http: hrpc_http.Asgi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{http.port}") as session:
        yield session


class Slow:
    """A route that waits until it is let go; `entered` says that a request has come."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, _: Request) -> PlainTextResponse:
        self.entered.set()
        await self.let_go.wait()
        return PlainTextResponse("done")

    @property
    def app(self) -> Starlette:
        async def slow(request: Request) -> PlainTextResponse:
            return await self(request)

        return Starlette(routes=[Route("/slow", slow)])
