"""A call that takes long is made at a second instance, and the first good answer counts."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc.errors import OptionError
from tests.echo import SERVICE, call
from tests.service.calls.fleet import fleet
from tests.service.calls.servers import bare
from tests.service.peers import called


def hedged(*methods: str, **named: Any) -> hrpc.Option:
    return hrpc.with_hedging([f"{SERVICE}/{method}" for method in methods], **named)


class Slow:
    """One instance that never answers, until it is cancelled."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.cancelled = asyncio.Semaphore(0)

    async def wait(self, _: bytes, __: Any) -> bytes:
        self.entered.release()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.release()
        return b""


async def quick(_: bytes, __: Any) -> bytes:
    return b"quick"


async def test_the_first_good_answer_counts_and_the_other_call_is_cancelled() -> None:
    slow = Slow()

    async def answers_when_both_are_asked(_: bytes, __: Any) -> bytes:
        await slow.entered.acquire()
        return b"quick"

    async with called(b"a", Ask=slow.wait) as a, called(b"b", Ask=answers_when_both_are_asked) as b:
        async with fleet((a, b), hedged("Ask", delay=0.01)) as found:
            told: list[Any] = []
            for _ in range(2):
                made = call(found.channel, "Ask")
                made.add_done_callback(told.append)
                assert await made == b"quick"
                assert await made.code() is grpc.StatusCode.OK
                assert made.done()
                assert not made.cancelled()
                await slow.cancelled.acquire()
            assert found.counts["hedges"] == 2
            assert len(told) == 2
            await asyncio.sleep(0)
            assert sum(endpoint.in_flight for endpoint in found.channel.balancer.endpoints) == 0


async def test_a_quick_answer_and_other_methods_are_left_alone() -> None:
    async with called(b"a", Ask=quick) as a, called(b"b", Ask=quick) as b:
        async with fleet((a, b), hedged("Ask", delay=5.0)) as found:
            assert [await call(found.channel, "Ask") for _ in range(5)] == [b"quick"] * 5
            assert await call(found.channel, "Name") in (b"a", b"b")
            assert found.counts["attempts"] == 6


async def test_a_failure_is_answered_by_another_instance_at_once() -> None:
    async def fails(_: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.INTERNAL, "a bad day")
        return b""

    async with called(b"a", Ask=fails) as a, called(b"b", Ask=quick) as b:
        async with fleet((a, b), hedged("Ask", delay=60.0)) as found:
            assert [await call(found.channel, "Ask", timeout=20) for _ in range(4)] == [b"quick"] * 4
            assert found.counts["retries"] >= 1
    async with called(b"a", Ask=fails) as a, called(b"b", Ask=fails) as b:
        async with fleet((a, b), hedged("Ask", delay=60.0)) as found:
            with pytest.raises(grpc.aio.AioRpcError, match="a bad day"):
                await call(found.channel, "Ask", timeout=20)
            assert found.counts["attempts"] == 2


async def test_an_answer_that_is_an_error_of_the_caller_is_an_answer() -> None:
    async def missing(_: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        return b""

    async with called(b"a", Ask=missing) as a, called(b"b", Ask=missing) as b:
        async with fleet((a, b), hedged("Ask", delay=60.0)) as found:
            with pytest.raises(grpc.aio.AioRpcError, match="no such thing"):
                await call(found.channel, "Ask")
            assert found.counts["attempts"] == 1


async def test_cancelling_the_caller_cancels_all_attempts() -> None:
    slow = Slow()
    async with called(b"a", Ask=slow.wait) as a, called(b"b", Ask=slow.wait) as b:
        async with fleet((a, b), hedged("Ask", delay=0.01)) as found:
            made = call(found.channel, "Ask")
            waiting = asyncio.ensure_future(made.code())
            caller = asyncio.ensure_future(_awaited(made))
            for _ in range(2):
                await slow.entered.acquire()
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            for _ in range(2):
                await slow.cancelled.acquire()
            assert made.cancelled()
            assert await waiting is grpc.StatusCode.CANCELLED


async def _awaited(made: Any) -> Any:
    return await made


async def test_hedges_share_the_budget_of_retries() -> None:
    slow = Slow()
    async with called(b"a", Ask=slow.wait) as a, called(b"b", Ask=slow.wait) as b:
        async with fleet((a, b), hedged("Ask", delay=0.01), hrpc.with_retry(budget=0)) as found:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(found.channel, "Ask", timeout=0.3)
            assert found.counts["hedges"] == 0


async def test_an_instance_that_cannot_be_connected_to_is_replaced(free_port: int) -> None:
    async with called(b"a", Ask=quick) as port, fleet((free_port, port), hedged("Ask", delay=60.0)) as found:
        assert [await call(found.channel, "Ask", timeout=20) for _ in range(4)] == [b"quick"] * 4
    async with fleet((free_port,), hedged("Ask")) as found:
        with pytest.raises(grpc.aio.AioRpcError, match="1 of 1 known instances cannot be connected to"):
            await call(found.channel, "Ask")


async def test_a_hedged_call_waits_for_an_instance() -> None:
    async with called(b"a", Ask=quick) as port, fleet((), hedged("Ask")) as found:
        made = call(found.channel, "Ask", wait_for_ready=True)
        waiting = asyncio.ensure_future(_awaited(made))
        await asyncio.sleep(0)
        found.listed.replace((port,))
        assert await waiting == b"quick"


async def test_a_hedged_call_waits_until_its_instance_is_up(free_port: int) -> None:
    async with fleet((free_port,), hedged("Ask")) as found:
        waiting = asyncio.ensure_future(_awaited(call(found.channel, "Ask", wait_for_ready=True, timeout=60)))
        async with asyncio.timeout(30):
            while found.counts["attempts"] < 4:  # more than a call has otherwise
                await asyncio.sleep(0.01)
        async with bare({"Ask": grpc.unary_unary_rpc_method_handler(quick)}, free_port):
            assert await waiting == b"quick"


async def test_what_surely_did_not_run_is_made_again_at_the_only_instance(free_port: int) -> None:
    async with fleet((free_port,), hedged("Ask")) as found:
        with pytest.raises(grpc.aio.AioRpcError, match="1 of 1 known instances"):
            await call(found.channel, "Ask")
        assert found.counts["attempts"] == 3  # as of any other method


@pytest.mark.parametrize("wrong", [{"methods": []}, {"methods": "a.B/C"}, {"methods": ["a b"]}])
def test_what_cannot_be_hedged(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"hrpc\.with_hedging"):
        hrpc.with_hedging(**wrong)


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"attempts": 6}, {"budget": 2}, {"idempotent": "a.B/C"}])
def test_what_cannot_be_made_again(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"hrpc\.with_retry"):
        hrpc.with_retry(**wrong)
