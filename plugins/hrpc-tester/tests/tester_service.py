"""A service with methods of every kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import aiohttp
import grpc
import tester_shop_pb2 as shop_pb2
import tester_shop_pb2_grpc as shop_grpc
from google.protobuf import empty_pb2

import hrpc
from hrpc.errors import NotFound

PATH = "/tester.shop.v1.Shop"


class Shop(shop_grpc.ShopServicer):
    """Gives back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: dict[str, Any] = {}
        self.context: hrpc.context.Context | None = None
        self.remaining: float | None = None
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def Place(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return request

    async def Get(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return shop_pb2.Order(id=request.id)

    async def Cancel(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return empty_pb2.Empty()

    async def List(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return shop_pb2.Orders(orders=[shop_pb2.Order(id=request.id)] if request.id else [])

    async def Read(self, request: Any, context: Any) -> Any:
        return request

    async def Tell(self, request: Any, context: Any) -> Any:
        self.metadata = dict(context.invocation_metadata())
        self.context = hrpc.context.current()
        self.remaining = context.time_remaining()
        await context.send_initial_metadata((("early", "1"), ("raw-bin", b"\x00\xff")))
        context.set_trailing_metadata((("late", "2"), ("late", "3")))
        return request

    async def Hold(self, request: Any, context: Any) -> Any:
        self.entered.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request

    async def Fail(self, request: Any, context: Any) -> Any:
        if request.fail_with:
            context.set_trailing_metadata((("late", "2"),))
            await context.abort(grpc.StatusCode[request.fail_with], "as asked", (("late", "2"),))
        raise NotFound("no such order")

    async def Follow(self, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            for value in range(getattr(request, "from"), request.to):
                yield shop_pb2.Number(value=value)
                self.entered.set()
                if request.fail_with == "wait":
                    await self.let_go.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise
        context.set_trailing_metadata((("late", "2"),))
        if request.fail_with in grpc.StatusCode.__members__:
            await context.abort(grpc.StatusCode[request.fail_with], "as asked", (("late", "2"),))

    async def Sum(self, request_iterator: Any, context: Any) -> Any:
        return shop_pb2.Number()

    async def Chat(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        yield shop_pb2.Number()


async def posted(session: aiohttp.ClientSession, method: str, body: Any = None, **named: Any) -> tuple[int, Any, Any]:
    data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    headers = {"Content-Type": "application/json", **named.pop("headers", {})}
    async with session.post(f"{PATH}/{method}", data=data, headers=headers, **named) as response:
        return response.status, await response.json(), response.headers


Started: TypeAlias = "Callable[..., AbstractAsyncContextManager[tuple[Shop, aiohttp.ClientSession]]]"


def shop(*options: hrpc.Option, servicer: Shop | None = None) -> tuple[hrpc.Server, Shop]:
    """A server of it on a free port of this machine."""
    server = hrpc.new_server(hrpc.with_server_name("shop"), hrpc.with_listen_port(0, host="127.0.0.1"), *options)
    servicer = servicer or Shop()
    shop_grpc.add_ShopServicer_to_server(servicer, server)
    return server, servicer
