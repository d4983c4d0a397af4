"""What a handler has: its time, its context or its thread, and how many run at once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import hrpc
from hrpc import context, from_thread
from hrpc.errors import HandlerTimeout
from hrpc.queues import Message, Retry
from tests.eventually import eventually
from tests.queues.consuming import a_queue, a_server, holds
from tests.queues.memory import Memory
from tests.server.recorded import Recorded

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_handler_that_hangs_is_cancelled_after_its_timeout_which_is_a_failure() -> None:
    reasons: list[type[BaseException]] = []

    async def on_order(message: Message) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            reasons.append(type(error))
            raise

    queue = a_queue(on_order, timeout=0.01, retry=Retry(1))
    async with a_server(queue):
        await queue.produce("orders")
        await queue.until(f"dead 1 in orders.dead: {HandlerTimeout(0.01)}")
    assert reasons == [asyncio.CancelledError]


async def test_a_message_carries_the_context_of_its_sender_and_not_its_deadline() -> None:
    sender = [(context.METADATA_KEY, '{"trace_id":"abcd","request_timeout":1000000000,"namespace":"Dev"}')]
    queue = Memory()
    async with a_server(queue):
        with context.entered(context.from_metadata(sender)) as current:
            assert current.deadline is not None
            await queue.produce("orders", headers={"version": "2"})
    message = queue.of("orders").get_nowait()
    assert isinstance(message, Message)
    assert message.headers["version"] == "2"
    carried = context.from_metadata(message.headers.items())
    assert (carried.trace_id, carried.namespace, carried.server_name) == ("abcd", "Dev", "shop")
    assert carried.deadline is None


async def test_the_timeout_is_the_deadline_of_what_the_handler_calls() -> None:
    left: list[float | None] = []

    async def on_order(message: Message) -> None:
        current = context.current()
        assert current is not None
        left.append(current.time_remaining())

    queue = a_queue(on_order, timeout=60)
    with hrpc.background_context(1.0):
        async with a_server(queue):
            await queue.produce("orders")
            await queue.until("done 1")
    assert left[0] is not None
    assert 50 < left[0] <= 60


async def test_what_becomes_of_a_message_is_told_without_the_deadline_of_its_handler() -> None:
    """Which is over when it took too long; a thread of it that goes on has its deadline still."""
    kept: list[context.Context | None] = []

    async def on_order(message: Message) -> None:
        kept.append(context.current())
        await asyncio.Event().wait()

    queue = a_queue(on_order, timeout=0.01, retry=Retry(2, base=0.0))
    told: list[context.Context | None] = []
    queue.on_end = lambda: told.append(context.current())
    async with a_server(queue):
        await queue.produce("orders")
        await queue.until("retry 1", f"dead 1 in orders.dead: {HandlerTimeout(0.01)}")
    assert [one is not None and one.time_remaining() for one in told] == [None, None]
    assert [one is not None and one.time_remaining() for one in kept] == [0, 0]
    assert [one is not None and one.trace_id for one in told] == [one is not None and one.trace_id for one in kept]


async def test_a_handler_that_is_not_async_runs_in_a_thread_with_pools_context_and_the_way_back() -> None:
    found: list[Any] = []
    database = Recorded([])

    async def answer() -> int:
        return 42

    def on_order(message: Message) -> None:
        current = context.current()
        assert current is not None
        found.extend(
            [database.slot.get(), current.trace_id, from_thread.run(answer), threading.current_thread().daemon]
        )

    queue = a_queue(on_order)
    async with a_server(queue, hrpc.with_databases(database)):
        await queue.produce("orders", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        await queue.until("done 1")
    assert found == ["the client", TRACE, 42, True]


async def test_a_handler_in_a_thread_that_hangs_is_left_to_itself_and_has_failed() -> None:
    let_go, ended = threading.Event(), threading.Event()

    def on_order(message: Message) -> None:
        if message.attempt == 1:
            let_go.wait(30)
            ended.set()

    queue = a_queue(on_order, timeout=1.5)  # in which the second attempt has to have ended
    async with a_server(queue):
        await queue.produce("orders")
        await queue.until("retry 1", "done 1")
        assert not ended.is_set()
        let_go.set()
        assert await asyncio.to_thread(ended.wait, 10)


async def test_as_many_messages_are_handled_at_a_time_as_the_subscription_says() -> None:
    running, most, all_there, let_go = 0, 0, asyncio.Event(), asyncio.Event()

    async def on_order(message: Message) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            all_there.set()
        await let_go.wait()
        running -= 1

    queue = a_queue(on_order, concurrency=3)
    async with a_server(queue):
        for _ in range(9):
            await queue.produce("orders")
        await all_there.wait()
        let_go.set()
        await eventually(lambda: holds(lambda: len(queue.happened) == 9))
    assert most == 3
