"""Servers whose handlers raise errors for their callers, those of a shop for one, and callers that catch them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

import hrpc
from hrpc.errors import CallError

SERVICE = "test.Raising"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class ShopError(CallError, issuer="TESTSHOP"):
    """All errors of the shop."""


class OutOfStock(ShopError, code=2000, grpc_code=grpc.StatusCode.FAILED_PRECONDITION, message="out of stock"):
    """Fewer are left than were ordered."""


def from_a_cause() -> CallError:
    """An error whose cause is nothing for callers."""
    error = OutOfStock()
    error.__cause__ = ValueError("password=s3cret")
    return error


def raising_server(make: Callable[[], BaseException], *options: hrpc.Option, name: str = "shop") -> hrpc.Server:
    """A server with a method for each kind of call, in coroutines and (`…_in_thread`) in threads: all raise."""

    async def one(request: Any, _: Any) -> bytes:
        await taken(request)
        raise make()

    async def many(request: Any, _: Any) -> AsyncIterator[bytes]:
        await taken(request)
        yield b"first"
        raise make()

    def one_in_thread(request: Any, _: Any) -> bytes:
        list(request)
        raise make()

    def many_in_thread(request: Any, _: Any) -> Any:
        list(request)
        yield b"first"
        raise make()

    return a_server(name, *options, one=one, many=many, one_in_thread=one_in_thread, many_in_thread=many_in_thread)


async def taken(request: Any) -> None:
    """Reads all requests: grpc.aio's clients may lose the status of a call that ends while they are still writing."""
    if not isinstance(request, bytes):
        async for _ in request:
            pass


def a_server(name: str, *options: hrpc.Option, **methods: Any) -> hrpc.Server:
    """A server whose methods are these: with `many` in their name they stream responses."""
    server = hrpc.new_server(hrpc.with_server_name(name), hrpc.with_listen_port(0, host="127.0.0.1"), *options)
    handlers = {}
    for request in ("unary", "stream"):
        for method, behaviour in methods.items():
            kind = f"{request}_stream" if "many" in method else f"{request}_unary"
            make = getattr(grpc, f"{kind}_rpc_method_handler")
            handlers[method.replace("one", kind).replace("many", kind)] = make(behaviour)
    server.add_registered_method_handlers(SERVICE, handlers)
    return server


async def answer(address: str, kind: str = "unary_unary", suffix: str = "") -> Any:
    """Makes the call; gives the last response, or raises the error as the other side has raised it."""
    async with grpc.aio.insecure_channel(address, interceptors=hrpc.client_interceptors()) as channel:
        method = getattr(channel, kind)(f"/{SERVICE}/{kind}{suffix}")
        running = method(b"x" if kind.startswith("unary") else iter([b"x"]), timeout=10)
        if kind.endswith("_unary"):
            return await running
        return [response async for response in running][-1]
