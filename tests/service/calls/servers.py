"""Bare servers with any methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from tests.echo import SERVICE


@asynccontextmanager
async def bare(handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]], port: int = 0) -> AsyncIterator[int]:
    """Serves these; gives its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, dict(handlers)),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(0)
