"""More to follow than the agent takes connections."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from loguru import logger

from hrpc.abc import Instance, Selection, Watched
from hrpc.consul import connect, turns
from hrpc.consul.client import Client
from hrpc.consul.transport import Transport
from hrpc.errors import ConsulUnreachable
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, consul_server
from tests.consul.scripted import scripted
from tests.eventually import eventually
from tests.service.peers import entry

if TYPE_CHECKING:
    from conftest import Launch


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", level="WARNING")
    yield lines
    logger.remove(sink)


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN", 0.1)


async def test_watches_take_turns_when_the_agent_takes_fewer_connections(launch: Launch, warnings: list[str]) -> None:
    agent = launch(lambda: consul_server({"limits": {"http_max_conns_per_client": 60}}))
    async with connect(Consul(address=agent.address)) as client, AsyncExitStack() as stack, asyncio.timeout(60):
        watches = [client.instances(Selection(f"many-{number}")) for number in range(90)]
        for watch in watches:
            await watch.ready(10)
        for number in (0, 45, 89):  # the registrar gets a connection, too
            await stack.enter_async_context(client.registered(entry(f"many-{number}", 1, 4001)))
        for number in (0, 45, 89):

            async def seen(number: int = number) -> bool:
                return len(watches[number].value) == 1

            await eventually(seen)
        await all_followed(watches)
    told = [line for line in warnings if "connections in turn" in line]
    assert len(told) == 1
    assert told[0].startswith("90 values are followed in Consul, on 45 connections in turn")


async def test_names_that_come_later_see_their_first_change_within_seconds(launch: Launch, warnings: list[str]) -> None:
    """Those that were there before do not hold all connections for the minute that a query may wait."""
    agent = launch(lambda: consul_server({"limits": {"http_max_conns_per_client": 60}}))
    async with connect(Consul(address=agent.address)) as client, asyncio.timeout(60):
        watches = [client.instances(Selection(f"old-{number}")) for number in range(45)]
        for watch in watches:
            await watch.ready(10)

        async def all_held() -> bool:
            return client._turns._free.locked()

        await eventually(all_held)
        assert not warnings
        newest = [client.instances(Selection(f"new-{number}")) for number in range(10)]
        for watch in newest:
            await watch.ready(10)
        await is_seen(client, newest[-1], "new-9")
        await all_followed(watches + newest)
    assert len([line for line in warnings if "connections in turn" in line]) == 1


async def all_followed(watches: Sequence[Watched[tuple[Instance, ...]]]) -> None:
    """A busy agent may count connections that are closed already, and cut one off, for a moment."""

    async def none_fails() -> bool:
        return all(watch.report().error is None for watch in watches)

    await eventually(none_fails)


async def is_seen(client: Client, watch: Watched[tuple[Instance, ...]], name: str) -> None:
    async with client.registered(entry(name, 1, 4001)):

        async def seen() -> bool:
            return len(watch.value) == 1

        await eventually(seen, 30)  # the old ones may wait for 55


@pytest.mark.parametrize(
    ("watches", "most", "longest"),
    [
        (20, 20, math.inf),
        (75, 150, math.inf),
        (76, 150, 5.0),
        (150, 150, 5.0),
        (151, 150, 2.0),
        (1000, 150, 0.75),
        (9000, 150, 0.5),
        (1000, 1500, 1000 / 30),
        (1000, 2000, math.inf),
    ],
)
def test_the_more_connections_are_held_the_shorter_they_are(
    watches: int, most: int, longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TURN", 2.0)
    held = turns.Turns(Transport(Consul()), lambda: watches)
    held._most = most
    assert held._longest() == longest


async def test_an_agent_that_was_away_is_asked_later_how_many_it_takes(
    consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(Consul(address=consul.address)) as client:
        away: ConsulUnreachable | None = ConsulUnreachable("away")
        request = client._transport.request

        async def away_once(method: str, path: str, *args: Any, **options: Any) -> Any:
            nonlocal away
            if path == "/v1/agent/self" and away is not None:
                error, away = away, None
                raise error
            return await request(method, path, *args, **options)

        monkeypatch.setattr(client._transport, "request", away_once)
        for number in range(turns.FEW + 5):
            await client.instances(Selection(f"later-{number}")).ready(10)

        async def asked() -> bool:
            return client._turns._most == 150

        await eventually(asked)


async def test_as_many_as_the_agent_takes_are_followed_at_once(consul: ConsulServer, warnings: list[str]) -> None:
    async with connect(Consul(address=consul.address)) as client:
        watches = [client.instances(Selection(f"some-{number}")) for number in range(turns.FEW + 5)]
        for watch in watches:
            await watch.ready(10)

        async def held() -> bool:
            return client._turns._most - client._turns._free._value == len(watches)

        await eventually(held)
        assert client._turns._most == 150  # three quarters of the agent's 200
    assert not warnings


async def test_an_agent_that_does_not_tell_is_taken_for_one_as_usual(warnings: list[str]) -> None:
    async with scripted() as agent:
        agent.fail("/v1/agent/self", 403, "Permission denied")
        async with connect(Consul(address=agent.address)) as client:
            for number in range(turns.FEW + 5):
                await client.instances(Selection(f"some-{number}")).ready(10)

            async def asked() -> bool:
                return client._turns._most == turns.UNKNOWN

            await eventually(asked)
    assert not warnings
