"""Instances of several datacenters, in order of preference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hrpc.abc import Instance, Selection
from hrpc.consul import connect, watch
from hrpc.consul.failover import Failover
from hrpc.consul.watch import Watch
from hrpc.errors import ConsulUnreachable
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, consul_server
from hrpc.testing.servers.ports import reserved_port
from tests import agent
from tests.eventually import eventually
from tests.service.peers import entry

if TYPE_CHECKING:
    from conftest import Launch

HERE = Instance("a-1", "a", "10.0.0.1", 1, datacenter="here")
THERE = Instance("a-1", "a", "10.1.0.1", 1, datacenter="there")
AWAY = ConsulUnreachable("away")


class Datacenter:
    """Answers with what `says` is set to, each time it is set."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[tuple[Instance, ...] | Exception] = asyncio.Queue()
        self._index = 0
        self.watch: Watch[tuple[Instance, ...]] = Watch("service 'a'", self._query, ())

    async def _query(self, index: int | None, wait: float) -> tuple[int, tuple[Instance, ...]]:
        answer = await self._said.get()
        self._index += 1
        self._said.task_done()
        if isinstance(answer, Exception):
            raise answer
        return self._index, answer

    async def says(self, answer: tuple[Instance, ...] | Exception) -> None:
        self._said.put_nowait(answer)
        await self._said.join()
        await asyncio.sleep(0)


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Datacenter, Datacenter, Failover]]:
    here, there = Datacenter(), Datacenter()
    async with asyncio.timeout(20):
        tasks = [asyncio.create_task(each.watch.run()) for each in (here, there)]
        try:
            yield here, there, Failover("service 'a'", [here.watch, there.watch])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_SHORTEST_ROUND", 0.0)
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.0)


async def test_the_first_that_has_instances_counts_and_the_next_steps_in() -> None:
    async with two() as (here, there, failover):
        await there.says((THERE,))
        assert not failover.known, "the preferred one may still answer"
        await here.says((HERE,))
        await failover.ready(20)
        assert failover.value == (HERE,)
        await here.says(())
        assert failover.value == (THERE,)
        await there.says(())
        assert failover.value == ()
        await here.says((HERE,))
        assert failover.value == (HERE,)
        assert failover.report().changes == 4


async def test_one_that_cannot_be_asked_gives_way_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOST_AFTER", 60.0)
    async with two() as (here, there, failover):
        await there.says((THERE,))
        await here.says((HERE,))
        await here.says(AWAY)
        assert failover.value == (HERE,)
        assert failover.report().error == "away"
        monkeypatch.setattr(watch, "LOST_AFTER", 0.0)
        await here.says(AWAY)
        assert failover.value == (THERE,)
        await here.says((HERE,))
        assert failover.value == (HERE,)
        assert failover.report().error is None


async def test_when_none_can_be_asked_what_was_last_known_of_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOST_AFTER", 0.0)
    async with two() as (here, there, failover):
        await there.says((THERE,))
        await here.says((HERE,))
        for each in (here, there):
            await each.says(AWAY)
        assert failover.value == (HERE,)


async def test_one_that_never_answers_is_passed_over_and_when_all_do_not_it_is_an_error() -> None:
    async with two() as (here, there, failover):
        await here.says(AWAY)
        with pytest.raises(ConsulUnreachable, match="away"):
            await failover.ready(0.001)
        await there.says((THERE,))
        await failover.ready(20)
        assert failover.value == (THERE,)


@pytest.fixture
def joined(launch: Launch) -> Iterator[tuple[ConsulServer, ConsulServer]]:
    """Two real datacenters of one server each that know of each other."""
    with reserved_port() as one, reserved_port() as two:

        def config(name: str, own: int, **more: Any) -> dict[str, Any]:
            wan = {"datacenter": name, "ports": {"serf_wan": own}, "node_name": f"node-{name}"}
            return {**wan, "gossip_wan": {"gossip_interval": "20ms", "probe_interval": "1s"}, **more}

        here = launch(lambda: consul_server(config("here", one)))
        there = launch(
            lambda: consul_server(config("there", two, retry_join_wan=[f"127.0.0.1:{one}"], retry_interval_wan="1s"))
        )
        yield here, there


async def test_real_datacenters_step_in_for_each_other(
    joined: tuple[ConsulServer, ConsulServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = joined
    monkeypatch.setattr("hrpc.consul.client.EMPTY_HOLD", 0.05)
    selection = Selection("far", ("development",), None, ("here", "there"))

    async def linked() -> bool:
        known = await asyncio.to_thread(agent.get, here.address, "/v1/catalog/datacenters")
        return set(known) == {"here", "there"}

    await eventually(linked)
    async with connect(Consul(address=here.address)) as mine, connect(Consul(address=there.address)) as theirs:
        watched = mine.instances(selection)

        async def from_datacenters(expected: list[str]) -> None:
            async def found() -> bool:
                return [each.datacenter for each in watched.value] == expected

            await eventually(found)

        async with theirs.registered(entry("far", 1, 4001)):
            await from_datacenters(["there"])
            assert [each.port for each in mine.fetch_instances(selection)] == [4001]
            async with mine.registered(entry("far", 1, 4002)):
                await from_datacenters(["here"])
                assert [each.port for each in mine.fetch_instances(selection)] == [4002]
            await from_datacenters(["there"])
            unknown_first = selection._replace(datacenters=("nowhere", "there"))
            assert [each.port for each in mine.fetch_instances(unknown_first)] == [4001]
            await mine.instances(unknown_first).ready(20)
            assert [each.port for each in mine.instances(unknown_first).value] == [4001]
            mine.release(unknown_first)
            mine.release(selection)
            assert not mine._watches
            assert not mine._running
        nowhere = mine.instances(selection._replace(datacenters=("nowhere",)))

        async def is_told() -> bool:
            return "knows no datacenter 'nowhere'" in str(nowhere.report().error)

        await eventually(is_told)
        with pytest.raises(Exception, match="knows no datacenter 'nowhere'"):
            await nowhere.ready(0.01)
