"""Publishing: what is confirmed, what is refused, and how long it is waited for a broker that is away."""

from __future__ import annotations

import asyncio
import struct
import time

import pytest
from rabbit_service import Handled, a_name, a_server, beside, login, put, taken, waiting

import hrpc
import hrpc_rabbitmq as rabbitmq
from hrpc import context
from hrpc.errors import NotRunning, OptionError, QueueRefused, QueueUnavailable
from hrpc.queues import Message, Retry
from hrpc.testing.servers import RabbitMQServer
from tests.eventually import eventually
from tests.proxy import proxied

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_message_arrives_with_its_id_headers_and_time_and_with_the_context_of_its_sender(
    rabbitmq_server: RabbitMQServer,
) -> None:
    name, handled = a_name(), Handled()
    seen: list[context.Context | None] = []

    async def on_order(message: Message) -> None:
        seen.append(context.current())
        await handled(message)

    async with a_server(rabbitmq_server, rabbitmq.consume(name, on_order)):
        began = time.time()
        with context.entered(context.Context(TRACE)):
            id = await rabbitmq.get().publish(
                "", b'{"id": 7}', routing_key=name, headers={"kind": "paid"}, content_type="application/json"
            )
        await handled.until(1)
    message = handled.messages[0]
    assert (message.topic, message.id, message.attempt, message.json(dict)) == (name, id, 1, {"id": 7})
    assert message.headers["kind"] == "paid"
    assert message.timestamp is not None
    assert abs(message.timestamp - began) < 60
    assert message.raw.header.properties.content_type == "application/json"
    assert seen[0] is not None
    assert (seen[0].trace_id, seen[0].server_name) == (TRACE, "shop")


async def test_what_no_queue_takes_is_an_error_unless_it_need_not_be_taken(rabbitmq_server: RabbitMQServer) -> None:
    name = a_name()
    async with a_server(rabbitmq_server):
        with pytest.raises(QueueRefused, match=f"no queue takes what is published to queue '{name}'"):
            await rabbitmq.get().publish("", b"", routing_key=name)
        await rabbitmq.get().publish("", b"", routing_key=name, mandatory=False)


async def test_a_missing_exchange_is_an_error_and_disturbs_nobody_else(rabbitmq_server: RabbitMQServer) -> None:
    """The broker closes the channel on which somebody published to it."""
    name, handled = a_name(), Handled()
    async with a_server(rabbitmq_server, rabbitmq.consume(name, handled)):
        client = rabbitmq.get()
        results = await asyncio.gather(
            *(client.publish("", b"good", routing_key=name) for _ in range(20)),
            client.publish(a_name(), b"bad", routing_key="paid"),
            *(client.publish("", b"good", routing_key=name) for _ in range(20)),
            return_exceptions=True,
        )
        await handled.until(40)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert [type(failure) for failure in failed] == [QueueRefused]
    assert "no exchange" in str(failed[0])
    assert len({message.id for message in handled.messages}) == 40


async def test_an_exchange_that_is_named_is_declared_and_feeds_the_queues_bound_to_it(
    rabbitmq_server: RabbitMQServer,
) -> None:
    name, events, handled = a_name(), a_name(), Handled()
    paid = rabbitmq.Binding(events, "order.*")
    async with a_server(rabbitmq_server, rabbitmq.consume(name, handled, bindings=[paid]), exchanges={events: "topic"}):
        await rabbitmq.get().publish(events, b"1", routing_key="order.paid")
        with pytest.raises(QueueRefused, match=r"with routing key 'refund\.paid'"):
            await rabbitmq.get().publish(events, b"2", routing_key="refund.paid")
        await handled.until(1)
    assert handled.bodies == [b"1"]


async def test_publishing_waits_for_a_broker_that_comes_back(rabbitmq_server: RabbitMQServer) -> None:
    name, handled = a_name(), Handled()
    async with proxied(rabbitmq_server.address) as line:
        server = a_server(rabbitmq_server, rabbitmq.consume(name, handled), port=line.port)
        async with server:
            await line.refuse()
            publishing = asyncio.create_task(rabbitmq.get().publish("", b"late", routing_key=name, timeout=30))
            done, _ = await asyncio.wait({publishing}, timeout=0.05)
            assert not done
            await line.heal()
            id = await publishing
            await handled.until(1)
    assert handled.messages[0].id == id


async def test_publishing_to_a_broker_that_is_away_ends_in_time(rabbitmq_server: RabbitMQServer) -> None:
    """That of the call, that of the setting, or its own; the error names the broker, and never the password."""
    async with proxied(rabbitmq_server.address) as line:
        async with a_server(rabbitmq_server, port=line.port, publish_timeout=0.1):
            await line.refuse()
            client = rabbitmq.get()
            with pytest.raises(QueueUnavailable, match=f"127.0.0.1:{line.port} .*: away for more than 0.1 s: ") as told:
                await client.publish("", b"", routing_key="orders")
            assert rabbitmq_server.password not in str(told.value)
            with pytest.raises(QueueUnavailable, match=r"0\.2 s"):
                await client.publish("", b"", routing_key="orders", timeout=0.2)
            with (
                context.background_context(timeout=0.05),
                pytest.raises(QueueUnavailable, match=r"more than 0(\.0\d*)? s"),
            ):
                await client.publish("", b"", routing_key="orders", timeout=30)


async def test_a_broker_that_is_silent_ends_publishing_in_time(rabbitmq_server: RabbitMQServer) -> None:
    async with proxied(rabbitmq_server.address) as line:
        async with a_server(rabbitmq_server, port=line.port):
            await rabbitmq.get().publish("", b"", routing_key="nowhere", mandatory=False)
            line.freeze()
            with pytest.raises(QueueUnavailable, match=r"has not confirmed a message within 0\.1 s, and may have it"):
                await rabbitmq.get().publish("", b"", routing_key="nowhere", mandatory=False, timeout=0.1)
            await line.heal()
            await rabbitmq.get().publish("", b"", routing_key="nowhere", mandatory=False)


def _method(of: int, arguments: bytes = b"") -> bytes:
    # AMQP 0-9-1, 2.3.5: type, channel, size, the class (10 is connection) and the method, and the end of the frame.
    payload = struct.pack(">HH", 10, of) + arguments
    return struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"


async def test_nothing_is_written_to_a_broker_that_holds_up_its_publishers(rabbitmq_server: RabbitMQServer) -> None:
    """It would take each repetition when its alarm is over."""
    name = a_name()
    async with proxied(rabbitmq_server.address) as line, beside(rabbitmq_server) as channel:
        await channel.declare_queue(name)
        async with a_server(rabbitmq_server, port=line.port):
            client = rabbitmq.get()
            await client.publish("", b"0", routing_key=name)

            async def is_held_up() -> bool:
                try:
                    async with asyncio.timeout(0.01):
                        await (await client._channel("")).connection.ready()
                except TimeoutError:
                    return True
                return False

            line.say(_method(60, b"\x0dlow on memory"))  # connection.blocked
            await eventually(is_held_up)
            for _ in range(3):
                with pytest.raises(QueueUnavailable, match=r"has taken no message for 0\.1 s: look for alarms"):
                    await client.publish("", b"held up", routing_key=name, timeout=0.1)
            waits = asyncio.create_task(client.publish("", b"1", routing_key=name))
            line.say(_method(61))  # connection.unblocked
            await waits
        assert [(await taken(rabbitmq_server, name)).body for _ in range(2)] == [b"0", b"1"]
        assert await waiting(rabbitmq_server, name) == 0


async def test_a_cancelled_publisher_is_cancelled(rabbitmq_server: RabbitMQServer) -> None:
    async with proxied(rabbitmq_server.address) as line:
        async with a_server(rabbitmq_server, port=line.port):
            line.freeze()
            publishing = asyncio.create_task(rabbitmq.get().publish("", b"", routing_key="orders"))
            await asyncio.wait({publishing}, timeout=0.02)
            publishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publishing
            await line.heal()


async def test_a_job_publishes_and_consumes_nothing(rabbitmq_server: RabbitMQServer) -> None:
    name, handled = a_name(), Handled()
    server = a_server(rabbitmq_server, rabbitmq.consume(name, handled))

    async def job() -> str:
        return await rabbitmq.get().publish("", b"from a job", routing_key=name)

    id = await asyncio.to_thread(server.run, job)
    assert (await taken(rabbitmq_server, name)).message_id == id
    assert handled.messages == []


async def test_all_else_is_done_on_a_channel_of_the_library(rabbitmq_server: RabbitMQServer) -> None:
    name = a_name()
    async with a_server(rabbitmq_server):
        async with rabbitmq.get().channel() as channel:
            await channel.declare_queue(name, durable=True)
        await put(rabbitmq_server, name, b"1", b"2")
        assert await waiting(rabbitmq_server, name) == 2


async def test_what_cannot_be_sent_is_told_before_it_is(rabbitmq_server: RabbitMQServer) -> None:
    with pytest.raises(NotRunning, match="rabbitmq"):
        rabbitmq.get()
    async with a_server(rabbitmq_server):
        with pytest.raises(OptionError, match="id=…"):
            await rabbitmq.get().publish("", b"", routing_key="orders", id="x" * 300)
        with pytest.raises(OptionError, match="bytes, not of str"):
            await rabbitmq.get().publish("", "text", routing_key="orders")  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="takes a name of"):
            await rabbitmq.get().publish("ex*", b"")
        with pytest.raises(OptionError, match="routing_key"):
            await rabbitmq.get().publish("", b"", routing_key="x" * 300)
        with pytest.raises(NotRunning, match='name="other"'):
            rabbitmq.get("other")
    with pytest.raises(OptionError, match="takes direct, fanout"):
        rabbitmq.new(exchanges={"events": "direkt"}, **login(rabbitmq_server))
    for given in ({"prefetch": 2, "concurrency": 3}, {"retry": Retry(max_delay=1e6)}, {"dead_letter": "a*"}):
        with pytest.raises(OptionError, match=r"hrpc_rabbitmq\.consume"):
            rabbitmq.consume("orders", Handled(), **given)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"hrpc_rabbitmq\.consume"):
        hrpc.with_message_queues(rabbitmq.new(rabbitmq.consume("or~ders", Handled())))
