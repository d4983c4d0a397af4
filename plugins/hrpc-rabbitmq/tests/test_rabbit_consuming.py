"""Consuming: what becomes of a message, at the real broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

import pytest
from aio_pika.exceptions import ChannelNotFoundEntity
from rabbit_service import Handled, a_name, a_server, beside, login, needs, put, taken, waiting

import hrpc
import hrpc_rabbitmq as rabbitmq
from hrpc.errors import Reject
from hrpc.queues import Message, Retry
from hrpc.testing.servers import RabbitMQServer
from hrpc_rabbitmq import delivered
from tests.eventually import eventually
from tests.proxy import proxied

KILLED = """
import asyncio, json, os, signal, sys
import hrpc, hrpc_rabbitmq as rabbitmq

async def on_message(message):
    if message.body == b"last":
        for _ in range(30):  # the first one has been acknowledged by then, however busy the machine is
            await asyncio.sleep(0.005)
        os.kill(os.getpid(), signal.SIGKILL)

recipe = rabbitmq.new(rabbitmq.consume(sys.argv[1], on_message), **json.loads(sys.argv[2]))
hrpc.new_server(
    hrpc.with_server_name("killed"), hrpc.with_listen_port(0, host="127.0.0.1"), hrpc.with_message_queues(recipe)
).serve()
"""
SOON = Retry(attempts=3, base=0.001)
LATER = Retry(attempts=3, base=30.0)


class Always(Retry):
    """Waits for the whole of the longest delay, and not for a part of it at random."""

    def delay(self, attempt: int) -> float:
        return self.max_delay


async def test_a_message_waits_for_its_next_attempt_at_the_broker_and_nobody_waits_with_it(
    rabbitmq_server: RabbitMQServer,
) -> None:
    """With one handler at a time, those behind a message that has failed are handled before it comes again."""
    name, handled, are_there = a_name(), Handled(failures=1), asyncio.Event()

    async def on_order(message: Message) -> None:
        await are_there.wait()
        await handled(message)

    async with a_server(rabbitmq_server, rabbitmq.consume(name, on_order, retry=Always(attempts=3, max_delay=0.3))):
        await put(rabbitmq_server, name, b"1", b"2", b"3", message_id="seven", headers={"kind": "paid", "count": 3})
        began = time.monotonic()
        are_there.set()
        await handled.until(4)
    assert time.monotonic() - began >= 0.3
    assert handled.bodies == [b"1", b"2", b"3", b"1"]
    last = handled.messages[3]
    assert (last.attempt, last.id, last.topic) == (2, "seven", name)
    assert (last.headers["kind"], last.headers["count"]) == ("paid", "3")
    assert await waiting(rabbitmq_server, name) == 0


async def test_a_service_that_restarts_loses_no_message_that_waits(rabbitmq_server: RabbitMQServer) -> None:
    name, first, second = a_name(), Handled(failures=1), Handled()
    wait = Always(attempts=3, max_delay=0.5)
    async with a_server(rabbitmq_server, rabbitmq.consume(name, first, retry=wait)):
        await put(rabbitmq_server, name, b"1")
        await first.until(1)
    async with a_server(rabbitmq_server, rabbitmq.consume(name, second, retry=wait)):
        await second.until(1)
    assert [(message.body, message.attempt) for message in second.messages] == [(b"1", 2)]


async def test_a_message_that_always_fails_ends_among_the_dead_letters_which_say_why(
    rabbitmq_server: RabbitMQServer,
) -> None:
    name, events, handled = a_name(), a_name(), Handled(failures=3)
    paid = rabbitmq.Binding(events, "order.*", type="topic")
    async with a_server(rabbitmq_server, rabbitmq.consume(name, handled, retry=SOON, bindings=[paid])):
        await rabbitmq.get().publish(events, b"1", routing_key="order.paid", id="seven", headers={"kind": "paid"})
        letter = await taken(rabbitmq_server, f"{name}.dead")
    assert [message.attempt for message in handled.messages] == [1, 2, 3]
    assert (letter.body, letter.message_id) == (b"1", "seven")
    told = dict(letter.headers)
    assert str(told.pop("hrpc-dead-at")).startswith("20")
    assert {key: value for key, value in told.items() if key.startswith("hrpc-") and key != "hrpc-attempt"} == {
        "hrpc-dead-error": "ZeroDivisionError",
        "hrpc-dead-reason": "no such product",
        "hrpc-dead-queue": name,
        "hrpc-dead-attempts": 3,
        "hrpc-exchange": events,
        "hrpc-routing-key": "order.paid",
    }
    assert told["kind"] == "paid"
    assert "x-death" not in told


async def test_a_handler_that_hangs_is_tried_again_and_then_given_up(rabbitmq_server: RabbitMQServer) -> None:
    name, handled = a_name(), Handled()

    async def hangs(message: Message) -> None:
        await handled(message)
        await asyncio.Event().wait()

    twice = Retry(attempts=2, base=0.001)
    async with a_server(rabbitmq_server, rabbitmq.consume(name, hangs, timeout=0.05, retry=twice)):
        await put(rabbitmq_server, name, b"1")
        letter = await taken(rabbitmq_server, f"{name}.dead")
    assert [message.attempt for message in handled.messages] == [1, 2]
    assert letter.headers["hrpc-dead-error"] == "HandlerTimeout"


async def test_a_message_comes_again_when_its_process_is_killed_between_handling_and_acknowledging(
    rabbitmq_server: RabbitMQServer,
) -> None:
    """With those that had been handed out to that process, and none that it had acknowledged."""
    name, handled = a_name(), Handled()
    async with beside(rabbitmq_server) as channel:
        await channel.declare_queue(name, durable=True)
    await put(rabbitmq_server, name, b"first", b"last", b"behind")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, name, json.dumps(login(rabbitmq_server)), env=environment
    )
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    async with a_server(rabbitmq_server, rabbitmq.consume(name, handled)):
        await handled.until(2)
    assert handled.bodies == [b"last", b"behind"]
    assert handled.messages[0].raw.redelivered
    assert await waiting(rabbitmq_server, name) == 0


async def test_a_rejected_message_is_dead_at_once(rabbitmq_server: RabbitMQServer) -> None:
    """In the queue that was chosen; without one, it is gone."""
    name, kept = a_name(), a_name()

    async def on_order(message: Message) -> None:
        raise Reject("negative total")

    async with a_server(
        rabbitmq_server,
        rabbitmq.consume(name, on_order, dead_letter="{queue}.refused"),
        rabbitmq.consume(kept, on_order, dead_letter=None),
    ):
        await put(rabbitmq_server, name, b"1")
        await put(rabbitmq_server, kept, b"2")
        letter = await taken(rabbitmq_server, f"{name}.refused")
    assert (letter.headers["hrpc-dead-error"], letter.headers["hrpc-dead-reason"]) == ("Reject", "negative total")
    assert letter.headers["hrpc-dead-attempts"] == 1
    assert await waiting(rabbitmq_server, kept) == 0


async def test_a_quorum_queue_has_its_retries_and_dead_letters(rabbitmq_server: RabbitMQServer) -> None:
    await needs(rabbitmq_server, 3, 10)
    name, handled = a_name(), Handled(failures=2)
    consumed = rabbitmq.consume(name, handled, retry=Retry(attempts=2, base=0.001), quorum=True)
    async with a_server(rabbitmq_server, consumed):
        await put(rabbitmq_server, name, b"1")
        letter = await taken(rabbitmq_server, f"{name}.dead")
    assert (letter.body, letter.headers["hrpc-dead-attempts"]) == (b"1", 2)


async def test_a_quorum_queue_gives_up_a_message_of_which_processes_die(rabbitmq_server: RabbitMQServer) -> None:
    await needs(rabbitmq_server, 3, 10)
    name = a_name()
    consumed = rabbitmq.consume(name, Handled(), quorum=True, arguments={"x-delivery-limit": 1})
    async with rabbitmq.new(consumed, **login(rabbitmq_server)).open(None):
        await put(rabbitmq_server, name, b"1")
        for _ in range(2):
            async with beside(rabbitmq_server) as channel:
                queue = await channel.get_queue(name, ensure=False)
                await queue.get()
        letter = await taken(rabbitmq_server, f"{name}.dead")
    assert letter.body == b"1"
    assert letter.headers["x-first-death-reason"] == "delivery_limit"


async def test_a_stop_waits_for_the_running_handler_and_gives_the_others_back_at_once(
    rabbitmq_server: RabbitMQServer,
) -> None:
    """The second service has them while the handler of the first still runs."""
    name, entered, let_go = a_name(), asyncio.Event(), asyncio.Event()
    second = Handled()

    async def on_order(message: Message) -> None:
        entered.set()
        await let_go.wait()

    stopping = a_server(rabbitmq_server, rabbitmq.consume(name, on_order))
    await stopping.__aenter__()
    await put(rabbitmq_server, name, b"1", b"2", b"3")
    await entered.wait()
    stop = asyncio.create_task(stopping.__aexit__(None, None, None))
    async with beside(rabbitmq_server) as channel:
        queue = await channel.get_queue(name, ensure=False)

        async def on_message(message: object) -> None:
            await second(message)  # type: ignore[arg-type]

        await queue.consume(on_message, no_ack=True)
        await second.until(2)
        assert not stop.done()
        let_go.set()
        await stop
    assert sorted(second.bodies) == [b"2", b"3"]
    assert await waiting(rabbitmq_server, name) == 0


async def test_a_handler_that_does_not_end_in_the_grace_leaves_its_message_to_others(
    rabbitmq_server: RabbitMQServer,
) -> None:
    name, entered, second = a_name(), asyncio.Event(), Handled()

    async def on_order(message: Message) -> None:
        entered.set()
        await asyncio.Event().wait()

    short = hrpc.with_graceful_stop(grace=0.05)
    async with a_server(rabbitmq_server, rabbitmq.consume(name, on_order), options=(short,)):
        await put(rabbitmq_server, name, b"1")
        await entered.wait()
    async with a_server(rabbitmq_server, rabbitmq.consume(name, second)):
        await second.until(1)
    assert second.messages[0].attempt == 1


async def test_a_lost_connection_costs_no_message(rabbitmq_server: RabbitMQServer) -> None:
    """What was handled meanwhile comes again, since it could not be acknowledged; consuming goes on by itself."""
    name, entered, let_go, handled = a_name(), asyncio.Event(), asyncio.Event(), Handled()

    async def on_order(message: Message) -> None:
        await handled(message)
        entered.set()
        await let_go.wait()

    async with proxied(rabbitmq_server.address) as line:
        async with a_server(rabbitmq_server, rabbitmq.consume(name, on_order), port=line.port):
            await put(rabbitmq_server, name, b"1")
            await entered.wait()
            await line.cut()
            let_go.set()
            await handled.until(2)
            await put(rabbitmq_server, name, b"2")
            await handled.until(3)
    assert handled.bodies == [b"1", b"1", b"2"]
    assert handled.messages[1].raw.redelivered
    assert await waiting(rabbitmq_server, name) == 0


async def test_a_deleted_queue_is_declared_and_consumed_again(rabbitmq_server: RabbitMQServer) -> None:
    """While a handler of its messages runs, whose end disturbs nobody."""
    name, handled, let_go = a_name(), Handled(), asyncio.Event()

    async def on_order(message: Message) -> None:
        await handled(message)
        if message.body == b"runs":
            await let_go.wait()

    async with a_server(rabbitmq_server, rabbitmq.consume(name, on_order, concurrency=2)):
        await put(rabbitmq_server, name, b"runs")
        await handled.until(1)
        async with beside(rabbitmq_server) as channel:
            await channel.queue_delete(name)

        async def is_there() -> bool:
            try:
                return await waiting(rabbitmq_server, name) == 0
            except ChannelNotFoundEntity:
                return False

        await eventually(is_there)
        await put(rabbitmq_server, name, b"1")
        await handled.until(2)
        let_go.set()
        await put(rabbitmq_server, name, b"2", b"3")
        await handled.until(4)
    assert handled.bodies == [b"runs", b"1", b"2", b"3"]
    assert await waiting(rabbitmq_server, name) == 0


async def test_without_its_queue_for_retries_a_message_comes_again_all_the_same(
    rabbitmq_server: RabbitMQServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "delay", lambda *_: 0.3)  # a very short one needs no queue
    monkeypatch.setattr(delivered, "_LEAST_PAUSE", 0.1)
    name, handled = a_name(), Handled(failures=1)
    async with a_server(rabbitmq_server, rabbitmq.consume(name, handled, retry=SOON)):
        async with beside(rabbitmq_server) as channel:
            await channel.queue_delete(f"{name}.retry.500ms")
        await put(rabbitmq_server, name, b"1")
        await handled.until(2)
    assert await waiting(rabbitmq_server, name) == 0


async def test_several_queues_have_one_handler_and_as_many_messages_at_a_time_as_it_takes(
    rabbitmq_server: RabbitMQServer,
) -> None:
    one, two, handled = a_name(), a_name(), Handled()
    running, all_run, let_go = 0, asyncio.Event(), asyncio.Event()

    async def on_order(message: Message) -> None:
        nonlocal running
        running += 1
        if running == 4:
            all_run.set()
        await let_go.wait()
        await handled(message)

    async with a_server(rabbitmq_server, rabbitmq.consume([one, two], on_order, concurrency=4)):
        await put(rabbitmq_server, one, b"1", b"1", b"1")
        await put(rabbitmq_server, two, b"2", b"2", b"2")
        await all_run.wait()
        assert running == 4
        let_go.set()
        await handled.until(6)
    assert {(message.topic, message.body) for message in handled.messages} == {(one, b"1"), (two, b"2")}


async def test_no_more_is_handed_out_than_was_asked_for(rabbitmq_server: RabbitMQServer) -> None:
    name, entered, let_go, handled = a_name(), asyncio.Event(), asyncio.Event(), Handled()

    async def on_order(message: Message) -> None:
        entered.set()
        await let_go.wait()
        await handled(message)

    async with a_server(rabbitmq_server, rabbitmq.consume(name, on_order, prefetch=2)):
        await put(rabbitmq_server, name, *(b"%d" % number for number in range(5)))
        await entered.wait()

        async def has_two_less() -> bool:
            return await waiting(rabbitmq_server, name) == 3

        await eventually(has_two_less)
        let_go.set()
        await handled.until(5)
