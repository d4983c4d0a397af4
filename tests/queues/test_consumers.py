"""Consumers in the life of a server: what becomes of a message, and what of the consumers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import grpc.aio
import pytest
from loguru import logger

import hrpc
from hrpc import context, from_thread, life
from hrpc.database import mysql
from hrpc.errors import HandlerTimeout, InvalidConfig, OptionError, QueueUnavailable, Reject, StartError
from hrpc.queues import Handler, Message, Retry, Subscription
from hrpc.testing import DevConsul
from tests.echo import add_echo, call
from tests.eventually import eventually
from tests.queues.memory import Memory
from tests.server.recorded import LOCAL, Recorded

AT_ONCE = Retry(attempts=3, base=0.0)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def a_queue(handler: Handler, **settings: Any) -> Memory:
    return Memory((Subscription(("orders",), handler, **{"retry": AT_ONCE, **settings}),))


def a_server(queue: Memory, *options: hrpc.Option) -> hrpc.Server:
    server = hrpc.new_server(hrpc.with_server_name("shop"), LOCAL, hrpc.with_message_queues(queue), *options)
    add_echo(server)
    return server


@pytest.fixture
def said() -> Any:
    lines: list[str] = []
    number = logger.add(lines.append, format="{level}: {message}")
    yield lines
    logger.remove(number)


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


async def test_what_cannot_be_buried_is_kept_and_comes_again(said: list[str]) -> None:
    queue = a_queue(lambda message: 1 / 0, retry=Retry(1, max_delay=0))
    queue.buries = False
    async with a_server(queue):
        await queue.produce("orders")
        await queue.until("retry 1")
        queue.buries = True
        await eventually(lambda: _holds(lambda: "dead 1 in orders.dead: division by zero" in queue.happened))
    assert any("cannot go to its dead letters" in line for line in said)


async def _holds(look: Callable[[], bool]) -> bool:
    return look()


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

    queue = a_queue(on_order, timeout=0.05)
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
        await eventually(lambda: _holds(lambda: len(queue.happened) == 9))
    assert most == 3


async def test_a_stop_lets_the_running_handlers_end_and_takes_no_further_message() -> None:
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def on_order(message: Message) -> None:
        entered.set()
        await let_go.wait()

    queue = a_queue(on_order)
    server = a_server(queue)
    async with server:
        await queue.produce("orders")
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        await hrpc.draining().wait()
        await queue.produce("orders")
        let_go.set()
        await stopping
    assert queue.happened == ["done 1", "closed"]


@pytest.mark.parametrize("way", ["grace", "hurry"])
async def test_what_has_not_ended_when_the_grace_is_over_is_cancelled_and_has_no_end(way: str, said: list[str]) -> None:
    entered = asyncio.Event()

    async def on_order(message: Message) -> None:
        entered.set()
        await asyncio.Event().wait()

    queue = a_queue(on_order)
    server = a_server(queue, hrpc.with_graceful_stop(grace=0.05 if way == "grace" else 60))
    async with asyncio.timeout(10), server:
        await queue.produce("orders")
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        if way == "hurry":
            await hrpc.draining().wait()
            assert server._running is not None
            server._running.request_stop("SIGTERM")
            with pytest.raises(hrpc.errors.ManagerError):
                await stopping
        else:
            await stopping
    assert queue.happened == ["closed"]
    assert any("1 handlers had not ended and were cancelled" in line for line in said)


async def test_pools_and_the_queue_itself_are_there_for_as_long_as_a_handler_runs() -> None:
    happened: list[str] = []
    database = Recorded(happened)
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def on_order(message: Message) -> None:
        entered.set()
        await let_go.wait()
        happened.append(f"handled with {database.slot.get()}")
        await queue.slot.get().produce("paid")

    queue = a_queue(on_order)
    server = a_server(queue, hrpc.with_databases(database))
    async with server:
        await queue.produce("orders")
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        await hrpc.draining().wait()
        let_go.set()
        await stopping
    assert happened == ["open", "handled with the client", "close"]
    assert queue.waiting["paid"].qsize() == 1


async def test_consuming_begins_anew_after_an_error_and_readiness_tells_meanwhile(said: list[str]) -> None:
    queue = a_queue(lambda message: None)
    server = a_server(queue, hrpc.with_health_check(0))

    async def told() -> str:
        async with probe.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as response:
            return str((await response.json())["parts"]["memory"])

    async def is_told(what: str) -> bool:
        return what in await told()

    async with server, aiohttp.ClientSession() as probe:
        assert await told() == "ok"
        queue.away = QueueUnavailable("memory: gone for lunch")
        queue.of("orders").put_nowait(QueueUnavailable("memory: the connection is lost"))
        await eventually(lambda: is_told("gone for lunch"))
        queue.away = None
        await eventually(lambda: is_told("ok"))
        await eventually(lambda: _holds(lambda: queue.consuming == 1))
        await queue.produce("orders")
        await queue.until("done 1")
    assert any("memory: orders: consumes nothing, and begins anew after" in line for line in said)
    assert any("memory: orders: consumes again" in line for line in said)


async def test_readiness_tells_that_nothing_is_consumed_while_a_running_handler_has_its_time() -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def on_order(message: Message) -> None:
        begun.set()
        await let_go.wait()

    queue = a_queue(on_order, concurrency=2)
    server = a_server(queue, hrpc.with_health_check(0))
    async with server, aiohttp.ClientSession() as probe:

        async def is_told() -> bool:
            async with probe.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as response:
                return "consumes nothing: memory: lost" in (await response.json())["parts"]["memory"]

        await queue.produce("orders")
        await begun.wait()
        queue.of("orders").put_nowait(QueueUnavailable("memory: lost"))
        await eventually(is_told)
        assert queue.happened == []
        let_go.set()
        await queue.until("done 1")


async def test_a_message_whose_end_cannot_be_told_is_left_to_come_again(said: list[str]) -> None:
    async def on_order(message: Message) -> None:
        queue.away = QueueUnavailable("memory: away")

    queue = a_queue(on_order)
    async with a_server(queue):
        await queue.produce("orders")
        await eventually(lambda: _holds(lambda: any("message orders 1 has no end" in line for line in said)))
        queue.away = None
    assert queue.happened == ["closed"]


async def test_a_broker_that_is_away_at_the_start_fails_the_start_with_its_message() -> None:
    queue = a_queue(lambda message: None)
    queue.away = QueueUnavailable("memory 127.0.0.1:1: no answer")
    with pytest.raises(StartError, match=r"memory: memory 127\.0\.0\.1:1: no answer"):
        async with a_server(queue):
            pass


async def test_a_job_sends_and_consumes_nothing() -> None:
    queue = a_queue(lambda message: None)

    async def job() -> None:
        await queue.slot.get().produce("orders")

    server = a_server(queue)
    await life.in_daemon_thread(lambda: server.run(job, heartbeat=False))
    assert queue.happened == ["closed"]
    assert queue.waiting["orders"].qsize() == 1
    assert queue.consuming == 0


async def test_a_call_whose_message_cannot_be_sent_answers_unavailable() -> None:
    async def send(request: bytes, _: Any) -> bytes:
        await queue.slot.get().produce("orders")
        return request

    queue = Memory()
    server = hrpc.new_server(hrpc.with_server_name("shop"), LOCAL, hrpc.with_message_queues(queue))
    add_echo(server, Send=send)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        queue.away = QueueUnavailable("memory: away")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Echo/Send")(b"x")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_messages_are_measured_by_topic_group_and_outcome() -> None:
    async def on_order(message: Message) -> None:
        if message.body == b"bad":
            raise ZeroDivisionError

    queue = a_queue(on_order, group="billing")
    server = a_server(queue, hrpc.with_metrics(0))
    async with server, aiohttp.ClientSession() as scraper:
        await queue.produce("orders")
        await queue.produce("orders", b"bad")
        await eventually(lambda: _holds(lambda: len(queue.happened) == 4))
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


async def test_settings_come_from_consul_and_a_missing_key_is_named() -> None:
    queue = Memory(needs_settings=True)
    async with DevConsul(kv={"development/messagequeues/memory": {"brokers": "a:1"}}) as consul:
        options = hrpc.with_consul(hrpc.Consul(address=consul.address))
        async with a_server(queue, options):
            assert queue.stored.key == "development/messagequeues/memory"
            assert queue.stored.values == {"brokers": "a:1"}
        other = Memory(name="events", needs_settings=True)
        with pytest.raises(StartError, match="development/messagequeues/events' does not exist"):
            async with a_server(other, options):
                pass


def test_wrong_options_are_refused_where_they_are_made() -> None:
    def on_order(message: Message) -> None: ...

    for wrong, what in (
        (lambda: hrpc.with_message_queues(object()), "takes kafka.new"),
        (lambda: hrpc.with_message_queues(mysql.new()), "'mysql' is a database: pass it to hrpc.with_databases"),
        (lambda: hrpc.with_databases(Memory()), "'memory' is a message queue: pass it to hrpc.with_message_queues"),
        (lambda: Subscription((), on_order), "needs at least one topic"),
        (lambda: Subscription(("a",), "no function"), "cannot be called"),
        (lambda: Subscription(("a",), on_order, concurrency=0), "concurrency=0"),
        (lambda: Subscription(("a",), on_order, timeout=0), "above 0"),
        (lambda: Subscription(("a",), on_order, dead_letter="a"), "its own dead letters"),
        (lambda: Subscription(("a",), on_order, retry=3), "takes an hrpc.queues.Retry"),
        (lambda: Retry(attempts=0), "attempts=0"),
        (lambda: Retry(factor=0.5), "factor=0.5"),
    ):
        with pytest.raises(OptionError, match=what):
            wrong()
    with pytest.raises(OptionError, match="'memory' is the name of another one"):
        hrpc.new_server(hrpc.with_server_name("a"), hrpc.with_message_queues(Memory(), Memory()))
    with pytest.raises(OptionError, match="read the KV key development/messagequeues/memory"):
        hrpc.new_server(hrpc.with_server_name("a"), hrpc.with_message_queues(Memory(needs_settings=True)))


def test_delays_grow_up_to_the_longest_and_never_fail() -> None:
    retry = Retry(base=1.0, factor=2.0, max_delay=8.0)
    for attempt, longest in ((1, 1), (2, 2), (4, 8), (5, 8), (10_000, 8)):
        delays = [retry.delay(attempt) for _ in range(200)]
        assert min(delays) >= 0
        assert longest * 0.8 < max(delays) <= longest


def test_the_json_of_a_message_is_read_as_strictly_as_a_config_and_never_shown() -> None:
    message = Message("orders", b'{"total": "a secret"}', id="0/17")
    assert message.json() == {"total": "a secret"}
    with pytest.raises(InvalidConfig, match="message orders 0/17: field 'total'") as caught:
        message.json(dict[str, int])
    assert "a secret" not in str(caught.value)
    with pytest.raises(InvalidConfig, match="message orders 0/17: expected JSON"):
        Message("orders", b"{", id="0/17").json()
    assert "a secret" not in repr(message)
