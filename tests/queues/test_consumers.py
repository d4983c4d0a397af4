"""Consumers in the life of a server: how they begin, are watched over, and end."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import grpc.aio
import pytest

import hrpc
from hrpc import life
from hrpc.errors import QueueUnavailable, StartError
from hrpc.queues import Message
from hrpc.testing import DevConsul
from tests.echo import add_echo
from tests.eventually import eventually
from tests.pauses import Pauses
from tests.queues.consuming import a_queue, a_server, holds
from tests.queues.memory import Memory
from tests.server.recorded import LOCAL, Recorded


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


async def test_a_stop_lets_handlers_end_also_when_the_broker_was_lost_before() -> None:
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def on_order(message: Message) -> None:
        entered.set()
        await let_go.wait()

    queue = a_queue(on_order, concurrency=2)
    server = a_server(queue)
    async with server:
        await queue.produce("orders")
        await entered.wait()
        queue.of("orders").put_nowait(QueueUnavailable("memory: lost"))
        await eventually(lambda: holds(lambda: queue.of("orders").empty()))
        stopping = asyncio.create_task(server.stop())
        await hrpc.draining().wait()
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
        await eventually(lambda: holds(lambda: queue.consuming == 1))
        await queue.produce("orders")
        await queue.until("done 1")
    assert any("memory: orders: consumes nothing, and begins anew after" in line for line in said)
    assert any("memory: orders: consumes again" in line for line in said)


async def test_pauses_grow_while_nothing_can_be_consumed(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = Pauses()
    monkeypatch.setattr("hrpc.pauses.random", pauses)
    queue = a_queue(lambda message: None)
    async with a_server(queue):
        queue.away = QueueUnavailable("memory: away")
        queue.of("orders").put_nowait(queue.away)
        await eventually(lambda: holds(lambda: len(pauses) >= 9))
        queue.away = None
    assert pauses[:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]


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
