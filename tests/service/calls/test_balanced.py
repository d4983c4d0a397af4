"""The balancer hears of every call, once, whatever its caller does with it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from tests.echo import SERVICE, Gate
from tests.eventually import eventually
from tests.service.calls.fleet import Fleet, fleet
from tests.service.peers import called


async def answered(call: Any) -> None:
    assert await call == b"a"


async def answered_twice(call: Any) -> None:
    assert await asyncio.gather(_of(call), _of(call)) == [b"a", b"a"]
    assert await call == b"a"


async def asked_for_its_code(call: Any) -> None:
    assert await call.code() is grpc.StatusCode.OK


async def told_when_done(call: Any) -> None:
    done = asyncio.Event()
    call.add_done_callback(lambda _: done.set())
    await done.wait()


async def told_when_done_and_answered(call: Any) -> None:
    done = asyncio.Event()
    call.add_done_callback(lambda _: done.set())
    await call
    await done.wait()


async def cancelled(call: Any) -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def given_up(call: Any) -> None:
    waiting = asyncio.create_task(_of(call))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def left_alone(_: Any) -> None:
    return None


async def _of(call: Any) -> Any:
    return await call


@pytest.mark.parametrize(
    "use",
    [
        answered,
        answered_twice,
        asked_for_its_code,
        told_when_done,
        told_when_done_and_answered,
        cancelled,
        given_up,
        left_alone,
    ],
)
async def test_a_call_is_in_flight_until_it_ends_and_ends_once(use: Any) -> None:
    async with called(b"a") as port, fleet([port]) as found:
        call = found.channel.unary_unary(f"/{SERVICE}/Name")(b"")
        (endpoint,) = found.channel.balancer.endpoints
        assert endpoint.in_flight == 1
        await use(call)
        await eventually(lambda: _is_idle(found))
        await asyncio.sleep(0)
        assert endpoint.in_flight == 0


async def test_a_failed_call_counts_once_whoever_waits_for_it() -> None:
    async def fail(_: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.INTERNAL, "a bad day")
        return b""

    async with called(b"a", Fail=fail) as port, fleet([port]) as found:
        call = found.channel.unary_unary(f"/{SERVICE}/Fail")(b"")
        await asyncio.gather(_of(call), _of(call), return_exceptions=True)
        (endpoint,) = found.channel.balancer.endpoints
        assert (endpoint.failures, endpoint.in_flight) == (1, 0)


async def test_the_key_of_a_consistent_hash_may_be_bytes() -> None:
    by_user = hrpc.with_balancer("consistent_hash", hash_key="user")
    async with called(b"a") as a, called(b"b") as b, fleet([a, b], by_user) as found:
        name = found.channel.unary_unary(f"/{SERVICE}/Name")
        for user in map(str, range(20)):
            assert await name(b"", metadata=(("user", user),)) == await name(b"", metadata=(("user", user.encode()),))


async def test_p2c_hears_how_long_a_call_took_before_its_caller_asks_for_the_answer() -> None:
    gate = Gate()

    async def hold(_: bytes, __: Any) -> bytes:
        await gate.opened.wait()
        return b"held"

    async with called(b"a", Hold=hold) as port, fleet([port], hrpc.with_balancer("p2c")) as found:
        (endpoint,) = found.channel.balancer.endpoints
        call = found.channel.unary_unary(f"/{SERVICE}/Name")(b"")
        await eventually(lambda: _is_idle(found))
        assert endpoint.latency > 0
        held = found.channel.unary_unary(f"/{SERVICE}/Hold")(b"")
        gate.opened.set()
        assert [await call, await held] == [b"a", b"held"]


async def _is_idle(found: Fleet) -> bool:
    return all(endpoint.in_flight == 0 for endpoint in found.channel.balancer.endpoints)
