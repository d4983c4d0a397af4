"""What a consumer of hrpc-rabbitmq costs, with what it knows and measures of each message, beside bare aio-pika.

``python -m benchmarks.plugins.rabbitmq figures.json --port PORT --username NAME --password PASSWORD`` measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import aio_pika
from opentelemetry.sdk.trace import SpanProcessor

import hrpc
import hrpc_rabbitmq
from benchmarks import program
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread, ratios
from hrpc import context
from hrpc.queues import Message
from hrpc.testing.servers import rabbitmq_server

PREFETCH = 100
BODY = b"x" * 100
QUEUE = "benchmark"
RATIO = "messages per CPU time of the consumer"
MICROS = "µs of it for a message"
BARE, OURS = "aio-pika: `queue.consume`, `ack`", "hrpc-rabbitmq: trace context, metrics"
SPANS = "the same, each message a span of OpenTelemetry"
BARE_ONE, OURS_ONE = (
    "aio-pika, one at a time: `queue.iterator`, `ack`",
    "hrpc-rabbitmq, one at a time: trace context, metrics",
)
Handle = Callable[[], Awaitable[None]]
Consumer = Callable[[Handle], AbstractAsyncContextManager[None]]


def rabbitmq(plan: Plan) -> Table:
    """Ratios of the messages that a second of the consumer's processor time is enough for."""
    with rabbitmq_server() as broker:
        login = ["--port", broker.port, "--username", broker.username, "--password", broker.password]
        messages = max(500, plan.loops // 20)
        found = program.figures("plugins.rabbitmq", plan, *login, "--rounds", 2 * plan.rounds, "--messages", messages)
    about = (
        f"Messages of {len(BODY)} bytes with the context of their sender, from a full queue, {PREFETCH} of them on "
        "their way, to a handler that only counts: all at a time that are there, or one after the other. Each is "
        "acknowledged: by hrpc-rabbitmq several at once, where they have ended within 5 ms. The broker is on the same "
        "machine."
    )
    rows = (*_rows(found, BARE, OURS, SPANS), *_rows(found, BARE_ONE, OURS_ONE))
    return Table("rabbitmq", "A consumer of RabbitMQ", about, rows)


def _rows(found: Mapping[str, list[float]], *names: str) -> Iterator[Row]:
    against = ratios({name: found[name] for name in names}, names[0])
    for name in names:
        yield Row(name, {RATIO: against[name], MICROS: Spread.of([1e6 / rate for rate in found[name]])})


async def measured(login: dict[str, Any], rounds: int, messages: int) -> dict[str, list[float]]:
    """By kind of consumer, the messages for a second of processor time in each round."""
    consumers: dict[str, Callable[[dict[str, Any], str], Consumer]] = {
        BARE: _called_back,
        OURS: partial(_hosted, concurrency=PREFETCH),
        SPANS: partial(_hosted, concurrency=PREFETCH, spans=True),
        BARE_ONE: _iterated,
        OURS_ONE: partial(_hosted, concurrency=1),
    }
    found: dict[str, list[float]] = {name: [] for name in consumers}
    for number in range(rounds):
        for name in consumers if number % 2 == 0 else reversed(consumers):
            await _fill(login, messages)
            found[name].append(await _rate(consumers[name](login, QUEUE), messages))
    return found


async def _rate(consumer: Consumer, messages: int) -> float:
    """Of a consumer that finds so many messages."""
    seen, began, ended = 0, 0.0, 0.0
    all_seen = asyncio.Event()

    async def handle() -> None:
        nonlocal seen, began, ended
        seen += 1
        if seen == 1:
            began = time.process_time()
        elif seen == messages:
            ended = time.process_time()
            all_seen.set()

    async with consumer(handle):
        await all_seen.wait()
    return (messages - 1) / (ended - began)


async def _fill(login: dict[str, Any], messages: int) -> None:
    sent = dict(context.Context("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7").metadata("sender"))
    async with _channel(login) as channel:
        await channel.declare_queue(QUEUE, durable=True)
        message = aio_pika.Message(BODY, headers=dict(sent), message_id="7")
        for _ in range(messages):
            await channel.default_exchange.publish(message, QUEUE)


@asynccontextmanager
async def _channel(login: dict[str, Any]) -> AsyncIterator[Any]:
    host, port, username, password = (login[name] for name in ("address", "port", "username", "password"))
    connection = await aio_pika.connect(host=host, port=port, login=username, password=password)
    async with connection, connection.channel(publisher_confirms=False) as channel:
        yield channel


def _called_back(login: dict[str, Any], name: str) -> Consumer:
    @asynccontextmanager
    async def consuming(handle: Handle) -> AsyncIterator[None]:
        async def on_message(message: Any) -> None:
            await handle()
            await message.ack()

        async with _channel(login) as channel:
            await channel.set_qos(PREFETCH)
            queue = await channel.get_queue(name, ensure=False)
            await queue.consume(on_message)
            yield

    return consuming


def _iterated(login: dict[str, Any], name: str) -> Consumer:
    @asynccontextmanager
    async def consuming(handle: Handle) -> AsyncIterator[None]:
        async def iterate() -> None:
            async with queue.iterator() as messages:
                async for message in messages:
                    await handle()
                    await message.ack()

        async with _channel(login) as channel:
            await channel.set_qos(PREFETCH)
            queue = await channel.get_queue(name, ensure=False)
            iterating = asyncio.create_task(iterate())
            yield
            iterating.cancel()
            await asyncio.wait({iterating})

    return consuming


def _hosted(login: dict[str, Any], name: str, *, concurrency: int, spans: bool = False) -> Consumer:
    @asynccontextmanager
    async def consuming(handle: Handle) -> AsyncIterator[None]:
        async def on_message(message: Message) -> None:
            await handle()

        consumed = hrpc_rabbitmq.consume(name, on_message, concurrency=concurrency, prefetch=PREFETCH)
        server = hrpc.new_server(
            hrpc.with_server_name("consumer"),
            hrpc.with_listen_port(0, host="127.0.0.1"),
            hrpc.with_metrics(port=0),
            hrpc.with_message_queues(hrpc_rabbitmq.new(consumed, **login)),
            *([hrpc.with_tracing(processors=[SpanProcessor()])] if spans else []),
        )
        async with server:
            yield

    return consuming


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--username", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=10_000)
    given = parser.parse_args()
    at = {"address": "127.0.0.1", "port": given.port, "username": given.username, "password": given.password}
    program.write(given.output, asyncio.run(measured(at, given.rounds, given.messages)))
