"""Connections: what is told when there is none, TLS, settings, and a broker that dies."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from loguru import logger
from rabbit_service import LOCAL, Handled, a_name, a_server, beside, login, put, waiting

import hrpc
import hrpc_rabbitmq as rabbitmq
from hrpc import Consul, configs
from hrpc.errors import InvalidConfig, OptionError, QueueRefused, QueueUnavailable
from hrpc.queues import Message, Retry
from hrpc.testing import DevConsul
from hrpc.testing.servers import RabbitMQServer
from hrpc.testing.servers import rabbitmq_server as start_rabbitmq
from hrpc_rabbitmq import link
from hrpc_rabbitmq.broker import OpenRabbit
from tests.authority import Authority
from tests.clock import Clock
from tests.eventually import eventually
from tests.pauses import Pauses
from tests.proxy import proxied


@pytest.fixture
def said() -> Any:
    lines: list[str] = []
    number = logger.add(lines.append, format="{level}: {message} {exception}", level="DEBUG")
    yield lines
    logger.remove(number)


async def fails(*subscriptions: rabbitmq.RabbitSubscription, **settings: Any) -> str:
    """What opening says."""
    with pytest.raises((QueueRefused, QueueUnavailable)) as error:
        async with rabbitmq.new(*subscriptions, **settings).open(None):
            pass
    return f"{type(error.value).__name__}: {error.value}"


async def test_a_wrong_password_is_told_without_it(rabbitmq_server: RabbitMQServer, said: list[str]) -> None:
    message = await fails(**login(rabbitmq_server, password="not the secret"))
    place = f"rabbitmq 127.0.0.1:{rabbitmq_server.port} vhost '/'"
    assert message.startswith(f"QueueRefused: {place}: user 'hrpc' is not let in: ACCESS_REFUSED")
    assert "check 'username' and 'password' in rabbitmq.new()" in message
    recipe = rabbitmq.new(**login(rabbitmq_server, password="not the secret"))
    assert "not the secret" not in " ".join([message, repr(recipe), repr(recipe.read(None)), *said])


async def test_a_missing_virtual_host_is_told(rabbitmq_server: RabbitMQServer) -> None:
    message = await fails(**login(rabbitmq_server, vhost="a/b c"))
    assert message.startswith("QueueRefused: rabbitmq 127.0.0.1:")
    assert message.startswith("QueueRefused: rabbitmq 127.0.0.1:")
    assert "vhost 'a/b c': has no such virtual host, or user 'hrpc' may not use it; check 'vhost'" in message


async def test_nobody_who_listens_and_something_else_are_told(rabbitmq_server: RabbitMQServer, free_port: int) -> None:
    message = await fails(address="127.0.0.1", port=free_port)
    assert message.startswith(f"QueueUnavailable: rabbitmq 127.0.0.1:{free_port} vhost '/': no answer: ")
    assert message.endswith("check that the broker runs, address and port")
    async with DevConsul() as other:
        host, _, port = other.address.rpartition(":")
        message = await fails(address=host, port=int(port), connect_timeout=0.3)
    assert "check" in message or "within 0.3 s" in message
    message = await fails(**login(rabbitmq_server, tls=True))
    assert message.startswith("QueueRefused: ")
    assert "TLS failed" in message


async def test_nothing_is_left_of_a_connection_that_could_not_be_made(
    rabbitmq_server: RabbitMQServer, free_port: int
) -> None:
    """aio-pika's own would close it when it is collected, for which there has to be an event loop."""
    for _ in range(2):
        await fails(address=f"127.0.0.1:{free_port},127.0.0.1:{free_port}")
        await fails(**login(rabbitmq_server, password="wrong"))
    await asyncio.to_thread(gc.collect)


async def test_a_silent_broker_fails_the_start_in_time(rabbitmq_server: RabbitMQServer) -> None:
    async with proxied(rabbitmq_server.address) as line:
        line.freeze()
        message = await fails(**login(rabbitmq_server, port=line.port, connect_timeout=0.2))
    assert f"no answer from 127.0.0.1:{line.port} within 0.2 s; check that the broker runs" in message


async def test_a_broker_that_is_silent_later_is_told_by_readiness(rabbitmq_server: RabbitMQServer) -> None:
    async with proxied(rabbitmq_server.address) as line:
        recipe = rabbitmq.new(**login(rabbitmq_server, port=line.port))
        async with recipe.open(None) as opened:
            await opened.ping()
            line.freeze()
            assert isinstance(opened, OpenRabbit)
            opened._settings = replace(opened._settings, connect_timeout=0.1)
            with pytest.raises(QueueUnavailable, match=r"no answer within 0\.1 s: .*look for alarms of memory or disk"):
                await opened.ping()
            await line.heal()


async def test_a_broker_that_ends_connections_at_once_is_asked_less_often_until_one_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses, clock = Pauses(), Clock()
    monkeypatch.setattr("hrpc.pauses.random", pauses)
    monkeypatch.setattr(link, "time", SimpleNamespace(monotonic=clock))

    class Ending(link.Link):
        async def _connect(self) -> Any:
            ended = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._end, ended)
            return ended

        def _end(self, ended: asyncio.Future[None]) -> None:
            clock.now += 6.0 if len(pauses) == 8 else 4.0
            ended.set_result(None)

    async def are_there() -> bool:
        return len(pauses) >= 10

    settings = rabbitmq.new(address="127.0.0.1").read(None)
    async with Ending(settings, "rabbitmq", "publishes").opened():
        await eventually(are_there)
    assert pauses[:10] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.1, 0.2]


async def test_the_next_node_is_used_when_the_first_does_not_answer(
    rabbitmq_server: RabbitMQServer, free_port: int
) -> None:
    name, handled = a_name(), Handled()
    nodes = f"127.0.0.1:{free_port},{rabbitmq_server.address}"
    async with a_server(rabbitmq_server, rabbitmq.consume(name, handled), address=nodes, port=None):
        await rabbitmq.get().publish("", b"1", routing_key=name)
        await handled.until(1)


async def test_a_queue_that_is_another_one_fails_the_start_and_says_how(rabbitmq_server: RabbitMQServer) -> None:
    name, handled = a_name(), Handled()
    async with beside(rabbitmq_server) as channel:
        await channel.declare_queue(name, durable=True, arguments={"x-max-length": 5})
    message = await fails(rabbitmq.consume(name, handled), **login(rabbitmq_server))
    assert f"queue '{name}' is there already and is another one: PRECONDITION_FAILED - inequivalent arg" in message
    assert "'x-max-length'" in message
    assert "take it as it is (declare=False)" in message
    async with a_server(rabbitmq_server, rabbitmq.consume(name, handled, arguments={"x-max-length": 5})):
        await put(rabbitmq_server, name, b"1")
        await handled.until(1)


async def test_what_is_not_to_be_declared_has_to_be_there(rabbitmq_server: RabbitMQServer) -> None:
    name, handled = a_name(), Handled()
    theirs = rabbitmq.consume(name, handled, declare=False, dead_letter=None, retry=Retry(max_delay=0.5))
    message = await fails(theirs, **login(rabbitmq_server))
    assert f"queue '{name}' is not there: NOT_FOUND" in message
    async with beside(rabbitmq_server) as channel:
        await channel.declare_queue(name, durable=True, arguments={"x-max-length": 5})
        assert f"queue '{name}.retry.500ms' is not there" in await fails(theirs, **login(rabbitmq_server))
        back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name}
        await channel.declare_queue(f"{name}.retry.500ms", durable=True, arguments=back)
    async with a_server(rabbitmq_server, theirs):
        await put(rabbitmq_server, name, b"1")
        await handled.until(1)


def test_the_library_is_imported_only_when_a_server_opens_the_queue() -> None:
    recipe = "r.new(r.consume('orders', print), address='a')"
    code = f"import sys, hrpc_rabbitmq as r; {recipe}; print('aio_pika' in sys.modules)"
    here = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("by_name", [False, True])
async def test_settings_come_from_consul(rabbitmq_server: RabbitMQServer, by_name: bool) -> None:
    """Also for the plugin that is asked for by its name."""
    name, handled = a_name(), Handled()
    consumed = hrpc.with_message_queues(rabbitmq.new(rabbitmq.consume(name, handled)))
    async with DevConsul() as consul:
        async with aiohttp.ClientSession() as session:
            url = f"http://{consul.address}/v1/kv/development/messagequeues/rabbitmq"
            async with session.put(url, data=json.dumps(login(rabbitmq_server))) as answer:
                assert answer.status == 200
        server = hrpc.new_server(
            hrpc.with_server_name("shop"),
            LOCAL,
            hrpc.with_consul(Consul(address=consul.address)),
            hrpc.with_plugins(rabbitmq.RabbitPlugin()) if by_name else consumed,
        )
        async with server:
            assert configs.get("messagequeues/rabbitmq", dict)["username"] == rabbitmq_server.username
            await rabbitmq.get().publish("", b"1", routing_key=name, mandatory=not by_name)
            if not by_name:
                await handled.until(1)


async def test_settings_that_cannot_be_are_told() -> None:
    with pytest.raises(OptionError, match="there is no setting 'user'"):
        rabbitmq.new(address="127.0.0.1", user="a")  # type: ignore[call-arg]
    with pytest.raises(InvalidConfig, match="heartbeat"):
        rabbitmq.new(address="127.0.0.1", heartbeat=0)
    with pytest.raises(InvalidConfig) as told:
        rabbitmq.new(address="amqp://me:secret@127.0.0.1")
    assert "secret" not in str(told.value)
    settings = rabbitmq.new(address="a,b:7", tls=True).read(None)
    assert settings.servers == [("a", 5671), ("b", 7)]


async def test_tls_is_spoken_and_checked(launch: Any, tmp_path: Path, free_port: int) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    certificate, key = authority.write(tmp_path / "broker", "broker")
    own_certificate, own_key = authority.write(tmp_path / "own", "shop")
    config = {
        "listeners.ssl.1": f"127.0.0.1:{free_port}",
        "ssl_options.cacertfile": str(authority.path),
        "ssl_options.certfile": str(certificate),
        "ssl_options.keyfile": str(key),
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
    }
    broker: RabbitMQServer = launch(lambda: start_rabbitmq(config=config))
    name, handled = a_name(), Handled()
    ours = {"tls_ca": str(authority.path), "tls_cert": str(own_certificate), "tls_key": str(own_key)}
    async with a_server(broker, rabbitmq.consume(name, handled), port=free_port, **ours):
        await rabbitmq.get().publish("", b"1", routing_key=name)
        await handled.until(1)
    message = await fails(**login(broker, port=free_port, **{**ours, "tls_ca": str(other.path)}))
    assert "TLS failed: " in message
    assert "check 'tls_ca' in rabbitmq.new()" in message
    message = await fails(**login(broker, port=free_port, tls_ca=str(tmp_path / "none")))
    assert message.startswith("QueueRefused: rabbitmq.new(): cannot read ")
    assert "check 'tls_ca', 'tls_cert' and 'tls_key'" in message


@pytest.fixture
def killable(rabbitmq_server: RabbitMQServer) -> Iterator[RabbitMQServer]:
    """That of all tests, which finds its queues again: another start takes seconds."""
    yield rabbitmq_server
    if not rabbitmq_server.running:
        rabbitmq_server.start()


async def test_a_broker_that_is_killed_and_comes_back_costs_no_message(
    killable: RabbitMQServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that waits for its next attempt nor one that was being handled; consumers and publishers go on, and
    readiness tells meanwhile."""
    monkeypatch.setattr(link, "_LONGEST_PAUSE", 0.2)
    name, kept, let_go = a_name(), Handled(), asyncio.Event()

    async def on_order(message: Message) -> None:
        await kept(message)
        if message.body == b"fails" and len(kept.messages) <= 2:
            raise ZeroDivisionError
        if message.body == b"runs":
            await let_go.wait()

    consumed = rabbitmq.consume(name, on_order, concurrency=2, retry=Retry(attempts=3, base=0.5))
    health = hrpc.with_health_check(port=0)
    async with a_server(killable, consumed, options=(health,)) as server:
        client = rabbitmq.get()
        await client.publish("", b"fails", routing_key=name)
        await client.publish("", b"runs", routing_key=name)
        await kept.until(2)

        async def is_to_come_again() -> bool:
            return any("failed and comes again" in line for line in said)

        await eventually(is_to_come_again)
        await asyncio.to_thread(killable.kill)
        with pytest.raises(QueueUnavailable, match=f"127.0.0.1:{killable.port}"):
            await client.publish("", b"lost", routing_key=name, timeout=0.1)

        async def is_unready() -> bool:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as answer:
                    return answer.status == 503 and "rabbitmq" in await answer.text()

        await eventually(is_unready)
        let_go.set()
        await asyncio.to_thread(killable.start)
        await client.publish("", b"later", routing_key=name, timeout=30)

        async def all_came() -> bool:
            return {b"fails", b"runs", b"later"} <= set(kept.bodies[2:])

        async def nothing_waits() -> bool:
            # The broker may have the message that failed twice: it was killed before or after it was told of the first.
            return not await waiting(killable, f"{name}.retry.500ms") and not await waiting(killable, name)

        await eventually(all_came)
        await eventually(nothing_waits)
    assert await waiting(killable, name) == 0
    assert not any(killable.password in line for line in said)
    assert not any("Traceback" in line and "aiormq" in line for line in said)
    assert any("rabbitmq (consumes): lost, and connects again" in line for line in said)
