"""More to follow than the agent takes connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from loguru import logger

from hrpc.abc import Selection
from hrpc.consul import connect, turns
from hrpc.option import Consul
from hrpc.testing import DevConsul
from hrpc.testing.servers import ConsulServer, consul_server
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
        assert all(watch.report().error is None for watch in watches)
    told = [line for line in warnings if "connections in turn" in line]
    assert len(told) == 1
    assert told[0].startswith("90 values are followed in Consul, on 45 connections in turn")


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
    async with DevConsul() as agent, connect(Consul(address=agent.address)) as client:
        for number in range(turns.FEW + 5):
            await client.instances(Selection(f"some-{number}")).ready(10)

        async def asked() -> bool:
            return client._turns._most == turns.UNKNOWN

        await eventually(asked)
    assert not warnings
