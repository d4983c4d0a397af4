"""What becomes of a message: it is done, comes again, or goes to the dead letters."""

from __future__ import annotations

import asyncio

import aiohttp
import grpc.aio
import pytest

import hrpc
from hrpc.errors import QueueUnavailable, Reject
from hrpc.queues import Message, Retry
from tests.echo import call
from tests.eventually import eventually
from tests.queues.consuming import a_queue, a_server, holds


async def test_a_message_is_done_when_its_handler_has_returned_and_not_before() -> None:
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def on_order(message: Message) -> None:
        entered.set()
        await let_go.wait()

    queue = a_queue(on_order)
    async with a_server(queue):
        await queue.produce("orders")
        await entered.wait()
        assert queue.happened == []
        let_go.set()
        await queue.until("done 1")
    assert queue.happened == ["done 1", "closed"]


async def test_a_message_comes_again_with_its_attempt_when_its_handler_fails_and_then_goes_to_the_dead_letters(
    said: list[str],
) -> None:
    attempts: list[int] = []

    async def on_order(message: Message) -> None:
        attempts.append(message.attempt)
        raise ZeroDivisionError("the secret of the order")

    queue = a_queue(on_order, group="billing", dead_letter="{topic}.{group}.dead")
    async with a_server(queue):
        await queue.produce("orders")
        await queue.until("retry 1", "retry 1", "dead 1 in orders.billing.dead: the secret of the order")
    assert attempts == [1, 2, 3]
    assert any("message orders 1, attempt 2 of 3, failed and comes again" in line for line in said)
    assert any("attempt 3 of 3, failed and goes to orders.billing.dead: ZeroDivisionError" in line for line in said)


async def test_a_rejected_message_goes_to_the_dead_letters_at_once_with_the_reason() -> None:
    async def on_order(message: Message) -> None:
        raise Reject("a negative total")

    queue = a_queue(on_order)
    async with a_server(queue):
        await queue.produce("orders")
        await queue.until("dead 1 in orders.dead: a negative total")


@pytest.mark.parametrize(("longest", "delay"), [(0, 0.5), (20, 20)])
async def test_what_cannot_be_buried_is_kept_and_comes_again(said: list[str], longest: float, delay: float) -> None:
    queue = a_queue(lambda message: 1 / 0, retry=Retry(1, max_delay=longest))
    queue.buries = False
    async with a_server(queue):
        await queue.produce("orders")
        await queue.until("retry 1")
        assert queue.delays == [delay]
        queue.buries = True
        await eventually(lambda: holds(lambda: "dead 1 in orders.dead: division by zero" in queue.happened))
    assert any("cannot go to its dead letters" in line for line in said)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration()])
async def test_whatever_a_handler_raises_is_its_failure_and_not_the_end_of_the_server(error: BaseException) -> None:
    async def on_order(message: Message) -> None:
        if message.attempt == 1:
            raise error

    queue = a_queue(on_order)
    server = a_server(queue)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        await queue.produce("orders")
        await queue.until("retry 1", "done 1")
        assert await call(channel, "Echo") == b"x"


async def test_a_message_whose_end_cannot_be_told_is_left_to_come_again(said: list[str]) -> None:
    async def on_order(message: Message) -> None:
        queue.away = QueueUnavailable("memory: away")

    queue = a_queue(on_order)
    async with a_server(queue):
        await queue.produce("orders")
        await eventually(lambda: holds(lambda: any("message orders 1 has no end" in line for line in said)))
        queue.away = None
    assert queue.happened == ["closed"]


async def test_messages_are_measured_by_topic_group_and_outcome() -> None:
    async def on_order(message: Message) -> None:
        if message.body == b"bad":
            raise ZeroDivisionError

    queue = a_queue(on_order, group="billing")
    server = a_server(queue, hrpc.with_metrics(0))
    async with server, aiohttp.ClientSession() as scraper:
        await queue.produce("orders")
        await queue.produce("orders", b"bad")
        await eventually(lambda: holds(lambda: len(queue.happened) == 4))
        queue.away = QueueUnavailable("away")
        with pytest.raises(QueueUnavailable):
            await queue.produce("orders")
        queue.away = None
        async with scraper.get(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
            text = await response.text()
    for outcome, count in (("done", 1), ("retry", 2), ("dead", 1)):
        labels = f'group="billing",outcome="{outcome}",queue="memory",topic="orders"'
        assert f"shop_queue_messages_total{{{labels}}} {count:.1f}" in text, text
    assert 'shop_queue_message_seconds_count{group="billing",queue="memory",topic="orders"} 4.0' in text
    assert 'shop_queue_in_flight{group="billing",queue="memory",topic="orders"} 0.0' in text
    assert 'shop_queue_sent_total{outcome="sent",queue="memory",topic="orders"} 2.0' in text
    assert 'shop_queue_sent_total{outcome="failed",queue="memory",topic="orders"} 1.0' in text
