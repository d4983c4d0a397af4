"""What is beneath consuming: acknowledging, what waits, channels that end, delays, headers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest
from pamqp.commands import Basic
from rabbit_service import Handled, a_name, a_server, beside, login, put, waiting

import hrpc
import hrpc_rabbitmq as rabbitmq
from hrpc.errors import QueueUnavailable, Reject
from hrpc.queues import Message, Retry
from hrpc.testing.servers import RabbitMQServer
from hrpc_rabbitmq import errors, headers, topology
from hrpc_rabbitmq.acknowledging import Acknowledging
from hrpc_rabbitmq.subscription import LONGEST_DELAY
from tests.eventually import eventually

SOON = Retry(attempts=3, base=0.001)


async def test_messages_that_end_in_any_order_and_way_each_have_one_end(rabbitmq_server: RabbitMQServer) -> None:
    """Acknowledged together, tried again and buried, in between each other."""
    name = a_name()
    seen: Counter[bytes] = Counter()
    ended = asyncio.Event()

    async def on_order(message: Message) -> None:
        number = int(message.body)
        seen[message.body] += 1
        await asyncio.sleep(random.random() / 500)
        if len(seen) == 300 and seen.total() == 300 + 60:
            ended.set()
        if number % 5 == 0 and message.attempt == 1:
            raise ZeroDivisionError
        if number % 7 == 0:
            raise Reject("never")

    consumed = rabbitmq.consume(name, on_order, concurrency=16, prefetch=40, retry=SOON)
    async with a_server(rabbitmq_server, consumed):
        await put(rabbitmq_server, name, *(b"%d" % number for number in range(300)))
        async with asyncio.timeout(60):
            await ended.wait()
    assert {body: count for body, count in seen.items() if count != 1} == {b"%d" % each: 2 for each in range(0, 300, 5)}
    assert await waiting(rabbitmq_server, name) == 0
    assert await waiting(rabbitmq_server, f"{name}.dead") == len(range(0, 300, 7))


async def test_what_waits_in_each_queue_is_measured(rabbitmq_server: RabbitMQServer) -> None:
    name, let_go = a_name(), asyncio.Event()

    async def on_order(message: Message) -> None:
        await let_go.wait()

    async with beside(rabbitmq_server) as channel:
        await channel.declare_queue(f"{name}.dead", durable=True)
        await put(rabbitmq_server, f"{name}.dead", b"1", b"2")
    metered = hrpc.with_metrics(port=0)
    async with a_server(rabbitmq_server, rabbitmq.consume(name, on_order), options=(metered,)) as server:

        async def told() -> bool:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{server.metrics_port}/metrics") as answer:
                    lines = (await answer.text()).splitlines()
            return f'shop_queue_waiting{{queue="rabbitmq",topic="{name}.dead"}} 2.0' in lines

        await eventually(told)
        let_go.set()


async def test_a_channel_that_the_broker_closes_is_told_and_made_anew(
    rabbitmq_server: RabbitMQServer, said: list[str]
) -> None:
    """As it does when a message has waited for longer than the broker allows."""
    name, handled = a_name(), Handled()
    consumed = rabbitmq.consume(name, handled)
    async with rabbitmq.new(consumed, **login(rabbitmq_server)).open(None) as broker:
        async with broker.consume(consumed) as deliveries:
            await put(rabbitmq_server, name, b"1")
            first = await anext(deliveries)
            await first._raw.channel.basic_ack(77)  # type: ignore[attr-defined]
            again = await anext(deliveries)
            assert again.message.raw.redelivered
            await again.done()
            with pytest.raises(QueueUnavailable, match="lost before the message was acknowledged"):
                await first.done()
    assert any(
        "closed the channel of" in line and "PRECONDITION_FAILED - unknown delivery tag 77" in line for line in said
    )
    assert await waiting(rabbitmq_server, name) == 0


async def test_no_cancel_is_lost_in_the_library() -> None:
    """It may swallow one while it closes a channel, or raise what fails on account of it."""

    async def swallows() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("closed")

    async def used(library: Callable[[], Awaitable[None]]) -> None:
        with errors.cancellable():
            await library()

    for library in (swallows, fails):
        task = asyncio.create_task(used(library))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await used(library)
    errors.pass_cancel(asyncio.CancelledError())  # the library's: nobody has cancelled this task


async def test_a_service_can_stop_as_soon_as_it_has_started(rabbitmq_server: RabbitMQServer) -> None:
    for pause in (0.0, 0.001, 0.003, 0.006, 0.01):
        async with asyncio.timeout(30), a_server(rabbitmq_server, rabbitmq.consume(a_name(), Handled())):
            await asyncio.sleep(pause)


def test_each_delay_has_a_queue_of_those_that_wait_for_about_as_long() -> None:
    assert topology.steps(30) == (0.5, 2.0, 8.0, 30.0)
    assert topology.steps(0.1) == (0.5,)
    assert topology.steps(31) == (0.5, 2.0, 8.0, 30.0, 120.0)
    for delay in (0.001, 0.5, 0.6, 2, 29, 30, 3600, LONGEST_DELAY):
        assert delay <= topology.step_of(delay) <= max(0.5, 6 * delay)
        assert topology.step_of(delay) in topology.steps(delay)
    names = [topology.retry_queue("orders", step) for step in (0.5, 2.0, 120.0, 3600.0, LONGEST_DELAY)]
    assert names == [f"orders.retry.{step}" for step in ("500ms", "2s", "2min", "1h", "24h")]


class Acknowledged:
    """A channel that keeps what it is told."""

    is_closed = False

    def __init__(self) -> None:
        self.told: list[tuple[int, bool]] = []

    async def basic_ack(self, number: int, multiple: bool = False, wait: bool = True) -> None:
        self.told.append((number, multiple))


async def test_no_message_is_acknowledged_with_a_later_one_before_it_has_ended() -> None:
    channel = Acknowledged()
    ends = Acknowledging(channel, 100)  # type: ignore[arg-type]
    for number in range(1, 10):
        ends.delivered(number)
    for number in (2, 1, 5, 3, 7):
        ends.done(number)
    ends.told(8)
    await ends.flushed()
    assert channel.told == [(3, True), (5, False), (7, False)]
    channel.told.clear()
    ends.done(6)
    ends.done(4)
    await ends.flushed()
    assert channel.told == [(6, True)]
    channel.told.clear()
    ends.done(9)
    await ends.flushed()
    assert channel.told == [(9, True)]


async def test_a_message_that_never_ends_does_not_make_the_ends_of_others_pile_up() -> None:
    channel = Acknowledged()
    ends = Acknowledging(channel, 100)  # type: ignore[arg-type]
    for number in range(1, 1001):
        ends.delivered(number)
        if number > 1:
            ends.done(number)
        if number % 100 == 0:
            await ends.flushed()
    assert channel.told == [(number, False) for number in range(2, 1001)]
    assert (list(ends._open), ends._ended) == ([1], set())


async def test_messages_are_acknowledged_soon_and_before_too_many_wait() -> None:
    channel = Acknowledged()
    ends = Acknowledging(channel, 3)  # type: ignore[arg-type]

    async def told() -> list[tuple[int, bool]]:
        return channel.told

    ends.done(1)
    assert await eventually(told) == [(1, True)]
    for number in (2, 3, 4):
        ends.done(number)
    await asyncio.sleep(0)
    assert channel.told == [(1, True), (4, True)]


@pytest.mark.parametrize("value", [True, 7, 1.5, b"text", "text"])
async def test_headers_of_others_are_read_as_text(value: object) -> None:
    read = headers.readable({"kind": value, "table": {"a": 1}, "bytes": b"\xff"})
    assert read == {"kind": {True: "true", b"text": "text"}.get(value, str(value))}  # type: ignore[call-overload]


def test_a_message_that_is_published_again_keeps_neither_other_recipients_nor_what_the_broker_counts() -> None:
    counted = {"x-death": [], "x-first-death-queue": "orders", "x-delivery-count": 3, "x-acquired-count": 1}
    given = Basic.Properties(
        headers={"version": "2", "CC": ["refunds"], "BCC": ["audit"], **counted},
        message_id="7",
        expiration="1000",
        user_id="shop",
    )
    again = headers.again(given, {headers.ATTEMPT: 1}, expires=2.0)
    assert again.headers == {"version": "2", headers.ATTEMPT: 1}
    assert (again.message_id, again.expiration) == ("7", "2000")
    assert not again.user_id
