"""What a server tells Consul of itself, what it tells of Consul, and how it leaves the rotation for a while."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hrpc
from hrpc import service
from hrpc.consul import connect
from hrpc.errors import ConsulUnreachable, NotRunning, OptionError
from hrpc.option import Consul, fold
from hrpc.server.registration import methods_digest, registration
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import Gate, add_echo, call
from tests.eventually import eventually
from tests.metrics.scraping import samples, value
from tests.service.peers import called, entry


def a_server(consul: ConsulServer, name: str, *options: hrpc.Option, **named: Any) -> hrpc.Server:
    server = hrpc.new_server(
        hrpc.with_server_name(name),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=consul.address)),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )
    add_echo(server, **named)
    return server


async def readiness(server: hrpc.Server) -> tuple[int, dict[str, str]]:
    url = f"http://127.0.0.1:{server.health_port}/healthx/readiness"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        parts: dict[str, str] = (await response.json())["parts"]
        return response.status, parts


async def test_consul_is_told_of_version_zone_methods_and_further_addresses(consul: ConsulServer) -> None:
    options = hrpc.with_registration(
        weight=7,
        version="1.4.2",
        zone="eu-1a",
        tags=("blue",),
        meta={"team": "orders"},
        tagged_addresses={"wan": ("203.0.113.7", 443), "v6": "[2001:db8::7]"},
    )
    async with a_server(consul, "told", options) as server:
        (found,) = await agent.instances(consul.address, "told")
        told = found["Service"]
        assert (told["Tags"], told["Weights"]["Passing"]) == (["development", "blue"], 7)
        assert told["TaggedAddresses"]["wan"] == {"Address": "203.0.113.7", "Port": 443}
        assert told["TaggedAddresses"]["v6"] == {"Address": "2001:db8::7", "Port": server.port}
        started = datetime.fromisoformat(told["Meta"].pop("started-at"))
        assert started.tzinfo is not None
        assert timedelta() <= datetime.now(UTC) - started < timedelta(minutes=1)
        assert told["Meta"] == {
            "protocol": "grpc",
            "keepalive": "5",
            "version": "1.4.2",
            "zone": "eu-1a",
            "team": "orders",
            "methods": methods_digest(server._recorder.methods),
        }


async def test_consul_is_there_for_configuration_only_where_it_is_not_to_be_told(consul: ConsulServer) -> None:
    silent = a_server(
        consul, "unlisted", hrpc.with_registration(in_consul=False), hrpc.with_health_check(0), hrpc.with_metrics(0)
    )
    async with silent:
        assert await agent.instances(consul.address, "unlisted") == []
        assert "registration" not in (await readiness(silent))[1]
        assert "hrpc_registered" not in {name for name, _ in await samples(silent)}
        url = f"http://127.0.0.1:{silent.health_port}/debug/registration"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            page = await response.json()
        assert not page["registered"]
        assert "in_consul=False" in page["note"]
    with pytest.raises(OptionError, match=r"hrpc\.with_registration\(in_consul='no'\): takes True, False or None"):
        hrpc.with_registration(in_consul="no")  # type: ignore[arg-type]


async def test_the_port_that_was_bound_is_registered(consul: ConsulServer) -> None:
    async with a_server(consul, "bound", hrpc.with_registration(tagged_addresses={"wan": "203.0.113.7"})) as server:
        (found,) = await agent.instances(consul.address, "bound")
        assert found["Service"]["Port"] == server.port != 0
        assert found["Service"]["TaggedAddresses"]["wan"]["Port"] == server.port


@given(st.lists(st.text("abcAB/.", min_size=1)))
def test_the_digest_of_methods_is_that_of_the_set(methods: list[str]) -> None:
    digest = methods_digest(methods)
    assert digest == methods_digest([*reversed(methods), *methods])
    assert digest != methods_digest([*methods, "/one.More/Method"])
    assert len(digest) == 16


def test_the_digest_of_methods_stays_what_it_is() -> None:
    assert methods_digest(["/shop.Orders/Get", "/shop.Orders/Create"]) == "072f171064dde6b3"


def test_the_keys_of_meta_that_somebody_else_may_know_better_are_theirs() -> None:
    given = hrpc.with_registration(meta={"protocol": "grpcs", "keepalive": "30"})
    meta = registration(fold([hrpc.with_server_name("behind-a-proxy"), given], {}), "10.0.0.5", 1, None).meta
    assert (meta["protocol"], meta["keepalive"]) == ("grpcs", "30")


@pytest.mark.parametrize(
    ("option", "health_port", "kind", "target"),
    [
        (hrpc.with_health_check(), 6688, "http", "http://[fd00::2]:6688/"),
        (hrpc.with_health_check(6688, kind="grpc"), 6688, "grpc", "[fd00::2]:8888"),
        (hrpc.with_health_check(6688, kind="ttl"), 6688, "ttl", ""),
        (hrpc.with_health_check(kind="ttl"), None, "ttl", ""),
    ],
)
def test_the_check_is_of_the_kind_that_was_asked_for(
    option: hrpc.Option, health_port: int | None, kind: str, target: str
) -> None:
    settings = fold([hrpc.with_server_name("checked"), option], {})
    check = registration(settings, "fd00::2", 8888, health_port).check
    assert (check.kind, check.target) == (kind, target)


async def test_a_server_with_a_ttl_check_opens_no_health_port_and_passes(consul: ConsulServer) -> None:
    every_second = hrpc.with_registration(check_interval=1)
    async with a_server(consul, "telling", hrpc.with_health_check(kind="ttl"), every_second) as server:
        with pytest.raises(NotRunning):
            _ = server.health_port
        (found,) = await agent.instances(consul.address, "telling")
        (check,) = [check for check in found["Checks"] if check["ServiceID"]]
        assert (check["Type"], check["Status"]) == ("ttl", "passing")


async def test_readiness_and_metrics_tell_of_a_registration_that_is_lost(own_consul: ConsulServer) -> None:
    """It stays ready: whoever knows it is served, and all instances have lost Consul at the same time."""
    async with a_server(own_consul, "ready", hrpc.with_health_check(0), hrpc.with_metrics(0)) as server:
        assert await readiness(server) == (200, {"server": "ok", "registration": "ok"})
        await asyncio.to_thread(own_consul.kill)

        async def lost() -> bool:
            return value(await samples(server), "hrpc_registered") == 0

        await eventually(lost)
        status, parts = await readiness(server)
        assert status == 200
        told = r"not in Consul for \d+ s: no answer from Consul at http://127\.0\.0\.1:"
        assert re.match(told, parts["registration"])
        own_consul.wipe()
        await asyncio.to_thread(own_consul.start)

        async def back() -> bool:
            return value(await samples(server), "hrpc_registered") == 1

        await eventually(back)
        assert (await readiness(server))[1]["registration"] == "ok"
        assert value(await samples(server), "hrpc_registered_again_total") >= 1


async def test_maintenance_is_seen_by_callers_within_a_tenth_of_a_second_and_running_calls_end(
    consul: ConsulServer,
) -> None:
    arrived: list[float] = []
    gate = Gate()

    async def name(_: bytes, __: Any) -> bytes:
        arrived.append(time.monotonic())
        return b"in maintenance"

    options = (hrpc.with_health_check(0), hrpc.with_metrics(0))
    async with (
        a_server(consul, "kept", *options, gate=gate, Name=name) as server,
        called(b"another") as port,
        connect(Consul(address=consul.address)) as other,
        other.registered(entry("kept", 2, port)),
        service.channel("kept") as channel,
    ):
        answers: list[tuple[float, bytes]] = []
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                began = time.monotonic()
                answers.append((began, await call(channel, "Name", timeout=30)))

        async def both() -> bool:
            return {answer for _, answer in answers} == {b"in maintenance", b"another"}

        async def entered_under_load() -> float:
            """Enters maintenance; gives how many seconds later the last call came."""
            await eventually(both)
            await server.enter_maintenance("rebuilding the index")
            entered, until = time.monotonic(), len(answers) + 200

            async def many_more() -> bool:
                return len(answers) >= until and time.monotonic() > entered + 0.2

            await eventually(many_more, 60)
            return arrived[-1] - entered

        async with grpc.aio.insecure_channel(server.address) as direct:
            held = asyncio.ensure_future(call(direct, "Hold", timeout=90))
            await gate.entered.wait()
            loading = asyncio.create_task(load())
            for _ in range(5):  # now and then a busy machine takes a tenth of a second for itself
                if (took := await entered_under_load()) < 0.1:
                    break
                await server.leave_maintenance()
                answers.clear()
            assert took < 0.1
            assert await readiness(server) == (
                503,
                {"server": "in maintenance: rebuilding the index", "registration": "ok"},
            )
            assert value(await samples(server), "hrpc_maintenance") == 1
            assert await call(direct, "Echo") == b"x"  # it still serves who calls it
            gate.opened.set()
            assert await held == b"x"
        before = len(arrived)
        await server.leave_maintenance()

        async def again() -> bool:
            return len(arrived) > before

        await eventually(again)
        done.set()
        await loading
        assert (await readiness(server))[0] == 200


async def test_maintenance_needs_a_reason_and_a_server_that_serves(consul: ConsulServer) -> None:
    server = a_server(consul, "reasonable")
    with pytest.raises(NotRunning, match="'reasonable' does not serve"):
        await server.enter_maintenance("early")
    async with server:
        with pytest.raises(OptionError, match="reason=''"):
            await server.enter_maintenance("")
        await server.leave_maintenance()  # it was in none


async def test_maintenance_without_consul_is_in_the_readiness() -> None:
    options = (hrpc.with_listen_port(0, host="127.0.0.1"), hrpc.with_health_check(0))
    async with hrpc.new_server(hrpc.with_server_name("alone"), *options) as server:
        await server.enter_maintenance("upgrade")
        assert await readiness(server) == (503, {"server": "in maintenance: upgrade"})
        await server.leave_maintenance()
        assert await readiness(server) == (200, {"server": "ok"})


async def test_maintenance_that_consul_was_not_told_of_is_in_the_readiness_and_comes_to_consul_later(
    own_consul: ConsulServer,
) -> None:
    async with a_server(own_consul, "later", hrpc.with_health_check(0)) as server:
        await asyncio.to_thread(own_consul.kill)
        with pytest.raises(ConsulUnreachable):
            await server.enter_maintenance("upgrade")
        assert (await readiness(server))[1]["server"] == "in maintenance: upgrade"
        await asyncio.to_thread(own_consul.start)

        async def out() -> bool:
            found = await agent.instances(own_consul.address, "later")
            return any(check["Notes"] == "upgrade" for each in found for check in each["Checks"])

        await eventually(out)
