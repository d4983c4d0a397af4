"""A start at a young agent, and a watch on the real one when the last instance leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from loguru import logger

from hrpc.abc import Check, Registration, Selection
from hrpc.consul import client, connect
from hrpc.errors import ConsulRefused
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests.consul.scripted import scripted
from tests.eventually import eventually

HOLD = 0.5


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="WARNING")
    yield lines
    logger.remove(number)


def registration(name: str) -> Registration:
    check = Check("http", "http://127.0.0.1:9/", 86400.0, 1.0, 60.0)  # an agent asks for the first time at random in it
    return Registration(f"{name}-1", name, "127.0.0.1", 4000, ("development",), {}, 1, check)


async def test_a_start_waits_for_an_agent_that_has_not_found_its_servers_yet() -> None:
    async with scripted() as young:
        young.fail("/v1/status/", 500, "No known Consul servers")
        with pytest.raises(ConsulRefused, match="No known Consul servers"):
            async with connect(Consul(address=young.address, timeout=1.0)):
                pass
        tried = len(young.asked)
        assert tried > 1
        connecting = asyncio.create_task(_connected(Consul(address=young.address, timeout=10)))

        async def tried_again() -> bool:
            return len(young.asked) > tried + 1

        await eventually(tried_again)
        young.fail("/v1/status/", 200, '"127.0.0.1:8300"')
        await asyncio.wait_for(connecting, 10)


async def _connected(consul: Consul) -> None:
    async with connect(consul):
        pass


async def test_the_removal_of_the_last_instance_is_seen_once_it_was_held(
    consul: ConsulServer, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "EMPTY_HOLD", HOLD)
    async with connect(Consul(address=consul.address)) as connected:
        watched = connected.instances(Selection("last-one"))
        async with connected.registered(registration("last-one")):

            async def there() -> bool:
                return len(watched.value) == 1

            await eventually(there)
            left = asyncio.get_running_loop().time()
        shown: list[int] = []
        watched.on_change(lambda: shown.append(len(watched.value)))

        async def gone() -> bool:
            return not watched.value

        await eventually(gone)
        assert asyncio.get_running_loop().time() - left >= HOLD
        assert shown == [0]
    assert len([line for line in told if "suddenly empty" in line]) == 1
