"""Servers with guards, and what their callers are told."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

import hrpc
from tests.echo import add_echo
from tests.eventually import eventually


def a_server(*options: hrpc.Option, **methods: Any) -> hrpc.Server:
    """A server with the echo servicer and further unary `methods`, on the engine of the test."""
    kind: Any = os.environ["HRPC_ENGINE"]
    common = (
        hrpc.with_server_name("guarded"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_engine(kind, allow_unbounded_receive=True),
    )
    server = hrpc.new_server(*common, *options)
    add_echo(server, **methods)
    return server


@asynccontextmanager
async def serving(*options: hrpc.Option, **methods: Any) -> AsyncIterator[tuple[hrpc.Server, grpc.aio.Channel]]:
    async with a_server(*options, **methods) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield server, channel


async def refused(calling: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calling
    return caught.value


def hint(error: grpc.aio.AioRpcError) -> float:
    """After how many seconds to try again, as google.rpc.RetryInfo has it."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    return float(retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)


async def healthy(channel: grpc.aio.Channel) -> bool:
    request = health_pb2.HealthCheckRequest()
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)  # type: ignore[no-untyped-call]
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def taken(server: hrpc.Server) -> int:
    """Places that calls have taken."""
    assert server._running is not None
    return sum(server._running.parts.guards.taken.values())


async def given_back(server: hrpc.Server) -> None:
    """Waits until no call has a place; a handler may end a moment after its answer."""

    async def all_free() -> bool:
        return taken(server) == 0

    await eventually(all_free)
