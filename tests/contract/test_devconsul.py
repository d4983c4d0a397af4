"""What only DevConsul has: its context, its thread, its refusals, and limits that tests may lower."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import aiohttp
import pytest
from loguru import logger

from hrpc.errors import BindError, OptionError, PortTaken
from hrpc.testing.consul import DevConsul
from tests.contract.agent_client import AgentClient
from tests.contract.conftest import Target, connected
from tests.eventually import eventually


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines that loguru is given."""
    lines: list[str] = []
    handler = logger.add(lines.append, format="{level} {message}")
    yield lines
    logger.remove(handler)


def read(address: str, path: str) -> bytes:
    """One GET that blocks this thread."""
    with urllib.request.urlopen(f"http://{address}/v1{path}", timeout=30) as answer:
        found: bytes = answer.read()
        return found


async def test_values_given_at_the_start_are_in_the_store() -> None:
    given = {"development/databases/mysql": {"port": 3306}, "list": [1, 2], "text": "é", "bytes": b"\x00\x01"}
    async with DevConsul(kv=given) as consul, connected(consul.address) as client:
        assert (await client.get("/kv/development/databases/mysql", raw="")).body == {"port": 3306}
        assert (await client.get("/kv/list", raw="")).body == [1, 2]
        assert (await client.get("/kv/text", raw="")).text == "é"
        assert (await client.get("/kv/bytes", raw="")).text == "\x00\x01"


@pytest.mark.parametrize("given", [{"": "no name"}, {"big": b"x" * (512 * 1024 + 1)}])
def test_values_that_consul_does_not_take_are_refused(given: dict[str, str | bytes]) -> None:
    with pytest.raises(OptionError, match=r"DevConsul\(kv=…\)"):
        DevConsul(kv=given)


def test_production_is_refused() -> None:
    with pytest.raises(OptionError, match=r"(?s)fake.*production.*with_consul"):
        DevConsul(environment="production")


async def test_start_says_that_this_is_a_fake(log: list[str]) -> None:
    async with DevConsul() as consul:
        assert log == [
            f"INFO DevConsul at {consul.address}: a fake Consul for development and tests, "
            "which forgets everything at its end\n"
        ]


async def test_taken_port_is_named(free_port: int) -> None:
    async with DevConsul(free_port) as consul:
        assert consul.address == f"127.0.0.1:{free_port}"
        second = DevConsul(free_port)
        with pytest.raises(PortTaken, match=rf"{consul.address} is in use.*DevConsul\(port=…\)"):
            await second.__aenter__()
        with pytest.raises(PortTaken), DevConsul.in_thread(free_port):
            pass
    with pytest.raises(BindError):
        await DevConsul(host="192.0.2.1").__aenter__()


async def test_address_exists_only_while_it_runs() -> None:
    consul = DevConsul()
    with pytest.raises(RuntimeError, match="async with"):
        _ = consul.address
    async with consul:
        assert consul.address.startswith("127.0.0.1:")
    with pytest.raises(RuntimeError, match="async with"):
        _ = consul.address


async def test_next_start_on_the_same_port_knows_nothing(free_port: int) -> None:
    consul = DevConsul(free_port, kv={"kept": "given"})
    async with consul, connected(consul.address) as client:
        await client.register()
        await client.put("/kv/forgotten", b"1")
    async with consul, connected(consul.address) as client:
        assert (await client.get("/agent/services")).body == {}
        assert (await client.get("/kv/", keys="")).body == ["kept"]


async def test_end_answers_who_waits_and_leaves_no_task(target: Target) -> None:
    async with aiohttp.ClientSession() as session:
        before = asyncio.all_tasks()
        async with DevConsul() as consul:
            client = AgentClient(session, consul.address, "ending")
            await client.register(
                Checks=[{"HTTP": target.url, "Interval": "1s"}, {"TTL": "30s", "DeregisterCriticalServiceAfter": "2m"}]
            )
            await client.until_check("service:ending:1", "passing")
            listed = await client.health()
            entry = await client.get("/agent/service/ending")
            waiting = asyncio.create_task(client.health(index=str(listed.index), wait="5m"))
            following = asyncio.create_task(client.get("/agent/service/ending", hash=entry.hash, wait="5m"))
            # They took their turns in the loop before these, so they have arrived when these are answered.
            for _ in range(3):
                await client.get("/status/leader")
            begin = time.monotonic()
        assert time.monotonic() - begin < 10
        assert (await waiting).index == listed.index
        assert (await following).hash == entry.hash

        async def all_ended() -> bool:
            return asyncio.all_tasks() == before

        await eventually(all_ended)  # that of the target, too, which learns of it last


async def test_service_that_stays_critical_is_deregistered() -> None:
    async with DevConsul(deregister_minimum=0.2) as consul, connected(consul.address) as client:
        check = {"TTL": "200ms", "Status": "passing", "DeregisterCriticalServiceAfter": "1ms"}
        await client.register(Check=check)
        await client.register(ID=f"{client.name}-healthy", Check=check | {"TTL": "1h"})
        await client.until_check(f"service:{client.name}", "critical")
        await client.until_listed(f"{client.name}-healthy")
        assert await client.check_statuses() == {f"service:{client.name}-healthy": "passing"}


async def test_service_that_recovers_in_time_is_not_deregistered() -> None:
    async with DevConsul(deregister_minimum=2.0) as consul, connected(consul.address) as client:
        check = {"TTL": "1h", "DeregisterCriticalServiceAfter": "1ms"}
        lost = f"{client.name}-lost"
        await client.register(Check=check)
        await client.put(f"/agent/check/pass/service:{client.name}")
        await client.register(ID=lost, Check=check)
        await client.until_listed(client.name)


async def test_minimum_of_the_deregistration_is_that_of_consul() -> None:
    async with DevConsul() as consul, connected(consul.address) as client:
        await client.register(Check={"TTL": "1ms", "DeregisterCriticalServiceAfter": "1ms"})
        await client.until_check(f"service:{client.name}", "critical")
        listed = await client.health()
        assert (await client.health(index=str(listed.index), wait="300ms")).index == listed.index


async def test_interval_below_the_minimum_is_raised(target: Target) -> None:
    async with DevConsul(interval_minimum=0.05) as consul, connected(consul.address) as client:
        await client.register(Check={"HTTP": target.url, "Interval": "1ms"})
        check = f"service:{client.name}"
        for status, meaning in ((200, "passing"), (500, "critical")) * 3:
            target.status = status
            await client.until_check(check, meaning)
    async with DevConsul(interval_minimum=60.0) as consul, connected(consul.address) as client:
        target.requests.clear()
        await client.register(Check={"HTTP": target.url, "Interval": "1ms"})
        found = await client.until_check(f"service:{client.name}", "critical")
        await client.health(index=str(found["ModifyIndex"]), wait="200ms")
        assert len(target.requests) == 1


@pytest.mark.parametrize(
    "check",
    [
        {"DockerContainerID": "x", "Interval": "1s", "Args": []},
        {"AliasService": "other"},
        {"GRPC": "127.0.0.1:1", "GRPCUseTLS": True, "TLSSkipVerify": True, "Interval": "1s"},
    ],
)
async def test_check_that_it_cannot_run_is_refused_by_name(check: dict[str, object]) -> None:
    async with DevConsul() as consul, connected(consul.address) as client:
        answer = await client.put("/agent/service/register", {"Name": client.name, "Check": check})
        assert answer.status == 400
        assert answer.text.startswith("DevConsul, a fake")


async def test_unknown_path_names_the_fake() -> None:
    async with DevConsul() as consul, connected(consul.address) as client:
        answer = await client.put("/query/create")
        assert answer.status == 404
        assert answer.text == "DevConsul, a fake for development and tests, does not speak PUT /v1/query/create"


async def test_datacenter_may_be_chosen() -> None:
    async with DevConsul(datacenter="mars") as consul, connected(consul.address) as client:
        assert (await client.get("/agent/self")).body["Config"]["Datacenter"] == "mars"
        assert (await client.health(dc="mars")).status == 200
        assert (await client.health(dc="dc1")).status == 500


def test_thread_answers_while_this_one_blocks() -> None:
    with DevConsul.in_thread(kv={"k": "1"}) as consul:
        assert read(consul.address, "/kv/k?raw") == b"1"
        assert json.loads(read(consul.address, "/status/leader"))
        address = consul.address
    assert not [thread for thread in threading.enumerate() if thread.name == "DevConsul"]
    with pytest.raises(urllib.error.URLError):
        read(address, "/status/leader")


def test_thread_ends_promptly_with_queries_that_wait() -> None:
    with DevConsul.in_thread(kv={"k": "1"}) as consul:
        index = json.loads(read(consul.address, "/kv/k"))[0]["ModifyIndex"]
        waiting = http.client.HTTPConnection(consul.address, timeout=30)
        waiting.request("GET", f"/v1/kv/k?raw&index={index}&wait=5m")
        # It was sent before these, so it has arrived when they are answered.
        for _ in range(3):
            read(consul.address, "/kv/k")
        begin = time.monotonic()
    assert time.monotonic() - begin < 10
    with waiting.getresponse() as answer:
        assert answer.read() == b"1"
    waiting.close()


def test_thread_ends_cleanly_with_connections_that_just_came() -> None:
    for _ in range(30):
        with ExitStack() as stack:
            with DevConsul.in_thread() as consul:
                host, port = consul.address.split(":")
                for _ in range(3):
                    stack.enter_context(socket.create_connection((host, int(port))))
    # What was left open says so when it is collected, and the run fails.
    gc.collect()


async def test_agent_in_a_thread_serves_a_loop_of_this_one(agent_in_thread: AgentClient) -> None:
    await agent_in_thread.register(Check={"TTL": "30s", "Status": "passing"})
    await agent_in_thread.until_listed(agent_in_thread.name, passing="")


@pytest.fixture
async def agent_in_thread() -> AsyncIterator[AgentClient]:
    """A client of an agent in a thread."""
    with DevConsul.in_thread() as consul:
        async with connected(consul.address) as client:
            yield client
