"""Services on both sides: entries in Consul, a server that calls, and bare ones that are called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

import hrpc
from hrpc.abc import Check, Registration
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests.echo import SERVICE, each, join, repeat


def entry(name: str, number: int, port: int, weight: int = 1, tag: str = "development", **meta: str) -> Registration:
    # Nobody runs it: a check over HTTP would fail at a random point of its first interval.
    check = Check("ttl", "", 60.0, 1.0, 60.0)
    return Registration(f"{name}-{number}", name, "127.0.0.1", port, (tag,), meta, weight, check)


@asynccontextmanager
async def caller(consul: ConsulServer, *options: hrpc.Option) -> AsyncIterator[hrpc.Server]:
    """A server that only calls others."""
    common = (
        hrpc.with_server_name("caller"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=consul.address)),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    async with hrpc.new_server(*common, *options) as server:
        yield server


@asynccontextmanager
async def called(
    answer: bytes, credentials: grpc.ServerCredentials | None = None, **methods: Any
) -> AsyncIterator[int]:
    """A bare gRPC server that answers with its own name; gives its port."""

    async def name(_: bytes, __: Any) -> bytes:
        return answer

    server = grpc.aio.server()
    unary = {"Name": name, **methods}
    handlers = {key: grpc.unary_unary_rpc_method_handler(method) for key, method in unary.items()}
    handlers["Repeat"] = grpc.unary_stream_rpc_method_handler(repeat)
    handlers["Join"] = grpc.stream_unary_rpc_method_handler(join)
    handlers["Each"] = grpc.stream_stream_rpc_method_handler(each)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    where = "127.0.0.1:0"
    port = server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
