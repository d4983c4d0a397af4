"""The check of a registration: how Consul finds out that an instance is well, and what mends the check itself."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from hrpc.abc import Check, Registration
from hrpc.consul import connect, entry
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.consul.conftest import Agent
from tests.eventually import eventually


def told(name: str, interval: float = 1.0) -> Registration:
    """An instance that tells Consul that it is well."""
    check = Check("ttl", "", interval, 1.0, 60.0)
    return Registration(f"{name}-1", name, "127.0.0.1", 4000, ("development",), {}, 1, check)


def asked(name: str) -> Registration:
    """An instance whose health port is closed: Consul will ask, at random in a day."""
    check = Check("http", "http://127.0.0.1:9/", 86400.0, 1.0, 60.0)
    return Registration(f"{name}-1", name, "127.0.0.1", 4000, ("development",), {}, 1, check)


async def check_of(either: Agent, registration: Registration) -> dict[str, Any] | None:
    checks: dict[str, dict[str, Any]] = await asyncio.to_thread(agent.get, either.address, "/v1/agent/checks")
    return checks.get(entry.check_id(registration))


async def statuses(either: Agent, registration: Registration, until: asyncio.Event) -> set[str]:
    """All that the check is seen at, from outside of the event loop that is to be busy."""
    seen: set[str] = set()

    def look() -> None:
        while not until.is_set():
            checks = agent.get(either.address, "/v1/agent/checks")
            seen.add(checks[entry.check_id(registration)]["Status"])
            time.sleep(0.02)

    await asyncio.to_thread(look)
    return seen


async def test_a_ttl_check_passes_at_once_and_a_busy_second_does_not_make_it_flap(
    either: Agent,
) -> None:
    registration = told("busy", 2.0)
    async with connect(Consul(address=either.address)) as client, client.registered(registration):
        check = await check_of(either, registration)
        assert check is not None
        assert (check["Type"], check["Status"]) == ("ttl", "passing")
        done = asyncio.Event()
        looking = asyncio.create_task(statuses(either, registration, done))
        await asyncio.sleep(1.5)
        time.sleep(1.8)  # noqa: ASYNC251 - the loop is blocked on purpose, while the next word is due
        done.set()
        assert await looking == {"passing"}


def test_the_service_speaks_at_a_third_of_the_ttl_or_earlier() -> None:
    registration = told("third", 5.0)
    assert entry.body(registration)["Check"]["TTL"] == "15s"
    assert registration.check.interval <= registration.check.ttl / 3


async def test_a_service_that_hangs_turns_critical_and_passes_again_when_it_goes_on(either: Agent) -> None:
    registration = told("hanging")
    async with connect(Consul(address=either.address)) as client, client.registered(registration):
        hangs_until = time.monotonic() + registration.check.ttl + 15
        while agent.get(either.address, "/v1/agent/checks")[entry.check_id(registration)]["Status"] != "critical":
            assert time.monotonic() < hangs_until
            time.sleep(0.05)  # noqa: ASYNC251 - the loop is blocked on purpose

        async def passes() -> bool:
            check = await check_of(either, registration)
            return check is not None and check["Status"] == "passing"

        await eventually(passes)


async def test_one_word_that_gets_lost_does_not_make_a_ttl_check_flap(
    either: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With five seconds for a request and three for the check, waiting for an answer would be too long."""
    registration = told("lost")
    async with connect(Consul(address=either.address)) as client:
        send, passes = client._transport.request, 0
        third = asyncio.Event()

        async def request(method: str, path: str, *args: Any, **options: Any) -> Any:
            nonlocal passes
            if path.startswith("/v1/agent/check/pass/"):
                passes += 1
                if passes == 1:
                    await asyncio.sleep(5)
                if passes == 4:
                    third.set()
            return await send(method, path, *args, **options)

        monkeypatch.setattr(client._transport, "request", request)
        async with client.registered(registration):
            done = asyncio.Event()
            looking = asyncio.create_task(statuses(either, registration, done))
            await asyncio.wait_for(third.wait(), 15)
            done.set()
            assert await looking == {"passing"}


async def test_a_ttl_check_that_the_agent_does_not_know_is_registered_again_at_once(either: Agent) -> None:
    registration = told("forgotten")
    async with connect(Consul(address=either.address)) as client, client.registered(registration):
        await asyncio.to_thread(agent.put, either.address, f"/v1/agent/check/deregister/{entry.check_id(registration)}")

        async def back() -> bool:
            check, report = await check_of(either, registration), client.report()
            return check is not None and check["Status"] == "passing" and report is not None and report.puts_again > 0

        await eventually(back)


async def test_a_check_that_was_removed_or_is_another_one_is_put_right(either: Agent) -> None:
    """The entry itself has not changed, so no query ends: the check is looked at once in its interval."""
    check = Check("http", "http://127.0.0.1:9/", 1.0, 1.0, 60.0)
    registration = Registration("mended-1", "mended", "127.0.0.1", 4000, ("development",), {}, 1, check)
    identity = entry.check_id(registration)
    other = f'{{"ID": "{identity}", "Name": "other", "ServiceID": "mended-1", "TTL": "10s"}}'.encode()
    async with connect(Consul(address=either.address)) as client, client.registered(registration):
        for path, body in (
            (f"/v1/agent/check/deregister/{identity}", b""),
            ("/v1/agent/check/register", other),
        ):
            await asyncio.to_thread(agent.put, either.address, path, body)

            async def right() -> bool:
                found = await check_of(either, registration)
                return found is not None and entry.is_same_check(found, registration)

            await eventually(right)


async def test_a_ttl_check_is_back_after_the_agent_was_wiped(own_consul: ConsulServer) -> None:
    registration = told("wiped")
    async with connect(Consul(address=own_consul.address)) as client, client.registered(registration):
        await asyncio.to_thread(own_consul.kill)
        own_consul.wipe()
        await asyncio.to_thread(own_consul.start)

        async def back() -> bool:
            return [entry["Service"]["ID"] for entry in await passing(own_consul, "wiped")] == ["wiped-1"]

        await eventually(back)


async def passing(either: Agent, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await asyncio.to_thread(
        agent.get, either.address, f"/v1/health/service/{name}?passing=1"
    )
    return found


async def test_nothing_is_said_of_a_check_after_the_deregistration(either: Agent) -> None:
    registration = told("quiet")
    async with connect(Consul(address=either.address)) as client:
        for _ in range(20):
            async with client.registered(registration):
                pass
            assert await check_of(either, registration) is None
            assert not await agent.instances(either.address, "quiet")
        assert not [
            task for task in asyncio.all_tasks() if task.get_name() in ("hrpc: TTL check", "hrpc: registration")
        ]


async def test_the_entry_is_the_same_with_the_addresses_that_an_agent_adds(either: Agent) -> None:
    registration = Registration(
        "tagged-1", "tagged", "127.0.0.1", 4000, (), {}, 1, asked("tagged").check,
        tagged_addresses={"wan": ("203.0.113.7", 443), "lan_ipv4": ("10.0.0.5", 4000), "v6": ("2001:db8::7", 443)},
    )  # fmt: skip
    async with connect(Consul(address=either.address)) as client, client.registered(registration):
        (found,) = await agent.instances(either.address, "tagged")
        assert found["Service"]["TaggedAddresses"] == {
            "wan": {"Address": "203.0.113.7", "Port": 443},
            "lan_ipv4": {"Address": "10.0.0.5", "Port": 4000},
            "v6": {"Address": "2001:db8::7", "Port": 443},
            "wan_ipv4": {"Address": "127.0.0.1", "Port": 4000},
        }
        shown = await asyncio.to_thread(agent.get, either.address, "/v1/agent/service/tagged-1")
        assert entry.is_same(shown, registration)
        changed = entry.body(registration) | {"TaggedAddresses": {"wan": {"Address": "203.0.113.8", "Port": 443}}}
        assert not entry.is_same(shown | changed, registration)


async def test_the_report_says_since_when_and_why_it_is_missing(own_consul: ConsulServer) -> None:
    registration = asked("reported")
    async with connect(Consul(address=own_consul.address)) as client:
        assert client.report() is None
        async with client.registered(registration):
            report = client.report()
            assert report is not None
            assert (report.registration, report.present, report.missing_for) == (registration, True, None)
            assert (report.puts_again, report.error) == (0, None)
            assert report.put_ago is not None
            assert 0 <= report.put_ago < 10
            await asyncio.to_thread(own_consul.kill)

            async def missed() -> bool:
                report = client.report()
                return report is not None and report.missing_for is not None and "no answer" in str(report.error)

            await eventually(missed)
            await asyncio.to_thread(own_consul.start)

            async def back() -> bool:
                report = client.report()
                return report is not None and report.present and report.error is None

            await eventually(back)
        assert client.report() is None
