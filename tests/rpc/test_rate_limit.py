"""A rate: calls beyond it are told when to come back."""

from __future__ import annotations

import json
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import errors
from tests.echo import SERVICE, call
from tests.rpc.guarded import a_server, healthy, hint, refused, serving

pytestmark = pytest.mark.usefixtures("engine")


async def test_calls_beyond_the_rate_are_told_when_to_come_back() -> None:
    async with serving(hrpc.with_rate_limit(0.01, burst=3)) as (_, channel):
        assert [await call(channel, "Echo") for _ in range(3)] == [b"x"] * 3
        error = await refused(call(channel, "EchoInThread"))
        assert 80 <= hint(error) <= 210
        assert error.details() == "too many calls a second"
        error = await refused(channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a"])))
        assert hint(error)
        assert await healthy(channel)


@pytest.mark.parametrize("engine", ["grpcio"], indirect=True)
async def test_the_retries_of_grpc_wait_for_as_long_as_they_are_told() -> None:
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "60s",
        "maxBackoff": "60s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = json.dumps({"methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": policy}]})
    async with a_server(hrpc.with_rate_limit(5, burst=1)) as server:
        async with grpc.aio.insecure_channel(server.address, [("grpc.service_config", config)]) as channel:
            assert server._running is not None
            counts = server._running.parts.guards.refusals.counts
            while counts["rate"] < 2:  # a busy machine may take so long for a call that the next one has its place
                assert await call(channel, "Echo", timeout=20) == b"x"


async def test_a_service_that_calls_catches_the_same_error() -> None:
    caught: list[float | None] = []

    async def ask(_: bytes, __: Any) -> bytes:
        async with grpc.aio.insecure_channel(server.address, interceptors=hrpc.client_interceptors()) as channel:
            for _number in range(2):
                try:
                    await call(channel, "Echo")
                except errors.Overloaded as error:
                    caught.append(error.retry_after)
        return b""

    limits = {f"{SERVICE}/Echo": (0.01, 1)}
    async with serving(hrpc.with_rate_limit(methods=limits), Ask=ask) as (server, channel):
        await call(channel, "Ask")
    assert len(caught) == 1
    assert caught[0] is not None
    assert 80 <= caught[0] <= 210


async def test_a_method_has_a_rate_of_its_own() -> None:
    limits = {f"{SERVICE}/Echo": (0.01, 1), f"{SERVICE}/Repeat": (0.01, 2)}
    async with serving(hrpc.with_rate_limit(methods=limits)) as (_, channel):
        await call(channel, "Echo")
        assert (await refused(call(channel, "Echo"))).details() == f"too many calls of {SERVICE}/Echo a second"
        assert [await call(channel, "EchoInThread") for _ in range(5)] == [b"x"] * 5
        repeat = channel.unary_stream(f"/{SERVICE}/Repeat")
        for _number in range(2):
            assert [part async for part in repeat(b"a")] == [b"a"] * 3
        assert hint(await refused(repeat(b"a").read()))
