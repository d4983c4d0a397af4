"""Starts without Consul: from a snapshot, or with nothing; what was known stands in until Consul answers."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc.aio
import pytest
from loguru import logger

import hrpc
from hrpc import configs, service
from hrpc.consul.snapshot import file
from hrpc.consul.snapshot.contents import Contents, Stored, decode, encode
from hrpc.database import redis
from hrpc.errors import ConsulUnreachable, ServiceNotFound, StartError
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, RedisServer
from tests import agent
from tests.consul.scripted import scripted
from tests.echo import add_echo, call
from tests.elsewhere import elsewhere
from tests.eventually import eventually, soon

AGED = 3 * 3600.0
LITTLE = 20.0
"""Seconds that a start takes less than where Consul is away, on a busy machine; waiting for Consul takes 60."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "consul.snapshot"


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="INFO")
    yield lines
    logger.remove(number)


def a_server(name: str, consul: Consul, *options: hrpc.Option) -> hrpc.Server:
    server = hrpc.new_server(
        hrpc.with_server_name(name),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_health_check(0),
        hrpc.with_consul(consul),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )
    add_echo(server)
    return server


def aged(path: Path, seconds: float) -> None:
    """Makes it one that was written so long ago."""
    found = decode(path.read_bytes())
    keys = {key: Stored(stored.value, stored.at - seconds) for key, stored in found.keys.items()}
    services = {which: Stored(stored.value, stored.at - seconds) for which, stored in found.services.items()}
    file.write(path, encode(Contents(found.origin, keys, services, found.left_out)))


async def one_life(consul: Consul, path: Path, *options: hrpc.Option) -> None:
    """A life of the caller that has used the users and a setting."""
    async with a_server("caller", consul, hrpc.with_snapshot(path), hrpc.with_upstreams("users"), *options):
        await service.ready("users")
        assert configs.get("limit") == "20"


@asynccontextmanager
async def users_and_a_snapshot(consul: ConsulServer, path: Path) -> AsyncIterator[str]:
    """Users that go on serving, whatever happens to Consul; and what a caller of theirs has kept of a former life."""
    await agent.store(consul.address, "development/limit", "20")
    # Without its own entry at Consul in the end, so that its stop does not depend on it.
    users = Consul(address=consul.address)
    async with elsewhere(lambda: a_server("users", users)) as address:
        await one_life(users, path)
        aged(path, AGED)
        yield address


async def test_a_service_starts_and_works_without_consul_and_says_how_old_its_data_is(
    own_consul: ConsulServer, path: Path, told: list[str]
) -> None:
    """Consul being down stops neither the start nor the serving."""
    consul = Consul(address=own_consul.address, timeout=60.0)
    async with users_and_a_snapshot(own_consul, path) as address:
        await asyncio.to_thread(own_consul.kill)
        began = time.monotonic()
        upstreams = hrpc.with_upstreams("users", "unheard-of")
        async with a_server("caller", consul, hrpc.with_snapshot(path), upstreams, hrpc.with_metrics(0)) as server:
            assert time.monotonic() - began < LITTLE
            assert server.health_port
            assert (await asyncio.to_thread(agent.get, f"127.0.0.1:{server.health_port}", "/healthx/readiness"))[
                "data"
            ] == "ok"
            assert configs.get("limit") == "20"
            assert service.get("users").endpoint == address
            async with service.channel("users") as channel:
                assert await call(channel, "Echo") == b"x"
            assert await gauge(server, "hrpc_snapshot_age_seconds") == pytest.approx(AGED, abs=60)
            assert await gauge(server, 'hrpc_upstream_age_seconds{service="users"}') == pytest.approx(AGED, abs=60)
            assert await gauge(server, "hrpc_registered") == 0
            assert any("the start goes on with 1 keys and 1 services, the oldest of 3:00:" in line for line in told)
            assert any("upstream 'unheard-of': nothing is known of it until Consul answers" in line for line in told)
            with pytest.raises((ServiceNotFound, ConsulUnreachable)):
                service.get("unheard-of")

            await asyncio.to_thread(own_consul.start)
            await soon(lambda: listed(own_consul, "caller"), 2)
            await agent.store(own_consul.address, "development/limit", "21")

            async def confirmed() -> bool:
                return configs.get("limit") == "21" and await gauge(server, "hrpc_snapshot_age_seconds") is None

            await eventually(confirmed)


async def listed(consul: ConsulServer, name: str) -> bool:
    return len(await agent.instances(consul.address, name)) == 1


async def has_one(name: str) -> bool:
    with suppress(ServiceNotFound, ConsulUnreachable):
        return bool(service.get(name).endpoint)
    return False


async def gauge(server: hrpc.Server, name: str) -> float | None:
    """A metric of the running server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.metrics_port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), None)


async def test_a_first_watch_that_fails_heals_when_consul_comes(own_consul: ConsulServer, told: list[str]) -> None:
    """Started with Consul down and nothing known, it serves, and has all within 2 s of its return."""
    await agent.store(own_consul.address, "development/limit", "20")
    await asyncio.to_thread(own_consul.stop)
    consul = Consul(address=own_consul.address, fail_fast=False)
    async with a_server("early", consul, hrpc.with_upstreams("early")) as server:
        assert any("goes on, with nothing that is known of Consul" in line for line in told)
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo") == b"x"
        with pytest.raises(ConsulUnreachable):
            configs.get("limit")
        await asyncio.to_thread(own_consul.start)
        await soon(lambda: listed(own_consul, "early"), 2)
        await soon(lambda: has_one("early"), 2)

        async def has_limit() -> bool:
            with suppress(ConsulUnreachable):  # until its watch has asked again
                return configs.get("limit") == "20"
            return False

        await eventually(has_limit)
        assert service.get("early").endpoint == server.address
        assert not any(line.startswith("CRITICAL") for line in told)
    assert not await agent.instances(own_consul.address, "early")


async def test_a_start_without_consul_and_without_its_entry_ever_there_ends_cleanly(
    own_consul: ConsulServer, told: list[str]
) -> None:
    await asyncio.to_thread(own_consul.stop)
    async with a_server("early", Consul(address=own_consul.address, fail_fast=False)):
        pass
    assert any("never came to Consul" in line for line in told)


@pytest.mark.parametrize("fail_fast", [None, True])
async def test_a_start_without_consul_fails_when_there_is_no_snapshot_or_fail_fast_is_asked_for(
    own_consul: ConsulServer, path: Path, fail_fast: bool | None
) -> None:
    consul = Consul(address=own_consul.address, fail_fast=fail_fast, timeout=0.3)
    if fail_fast:
        async with users_and_a_snapshot(own_consul, path):
            await asyncio.to_thread(own_consul.kill)
            await fails(a_server("caller", consul, hrpc.with_snapshot(path)), "consul: no answer from Consul at")
            await asyncio.to_thread(own_consul.start)
    else:
        await asyncio.to_thread(own_consul.stop)
        await fails(a_server("caller", consul, hrpc.with_snapshot(path)), "consul: no answer from Consul at")


async def fails(server: hrpc.Server, says: str) -> str:
    with pytest.raises(StartError, match=says) as caught:
        async with server:
            pass
    return str(caught.value)


@pytest.mark.parametrize("spoil", ["cut", "foreign", "old"])
async def test_a_snapshot_that_cannot_be_used_is_told_of_and_ignored(
    consul: ConsulServer, path: Path, told: list[str], spoil: str, free_port: int
) -> None:
    async with users_and_a_snapshot(consul, path):
        pass
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif spoil == "old":
        aged(path, 86400.0)
    away = Consul(address=f"127.0.0.1:{free_port}", timeout=0.3)
    told.clear()
    name = "another" if spoil == "foreign" else "caller"
    await fails(a_server(name, away, hrpc.with_snapshot(path)), "consul: no answer from Consul at")
    says = {"cut": "it is damaged", "foreign": "server 'caller', not 'another'", "old": "older than 1 day"}
    assert any(says[spoil] in line for line in told)


async def test_a_restart_while_consul_answers_uses_nothing_of_the_snapshot(consul: ConsulServer, path: Path) -> None:
    """The instance that the snapshot knows is gone, and its place may be another's."""
    async with users_and_a_snapshot(consul, path) as old:
        pass
    seen: set[str] = set()
    at = Consul(address=consul.address)
    async with elsewhere(lambda: a_server("users", at)) as new:
        assert new != old
        await agent.store(consul.address, "development/limit", "30")
        async with a_server("caller", at, hrpc.with_snapshot(path), hrpc.with_upstreams("users")):
            seen.add(service.get("users").endpoint)
            seen.add(configs.get("limit"))
    assert seen == {new, "30"}


async def test_an_agent_that_is_silent_delays_a_start_from_a_snapshot_by_little(
    consul: ConsulServer, path: Path
) -> None:
    async with users_and_a_snapshot(consul, path):
        pass
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        away = Consul(address=f"127.0.0.1:{silent.getsockname()[1]}", timeout=60.0)
        began = time.monotonic()
        server = a_server("caller", away, hrpc.with_snapshot(path), hrpc.with_upstreams("users"))
        async with server:
            assert service.get("users").endpoint
            assert configs.get("limit") == "20"
            assert time.monotonic() - began < LITTLE
            assert server._life is not None


async def test_an_agent_without_its_servers_is_an_outage_too(consul: ConsulServer, path: Path) -> None:
    """It answers, but with 500 to all that its servers would know."""
    async with users_and_a_snapshot(consul, path):
        pass
    async with scripted() as lonely:
        for begin in ("/v1/health/", "/v1/kv/"):
            lonely.fail(begin, 500, "No cluster leader")
        async with a_server(
            "caller", Consul(address=lonely.address), hrpc.with_snapshot(path), hrpc.with_upstreams("users")
        ):
            assert service.get("users").endpoint
            assert configs.get("limit") == "20"


@pytest.mark.parametrize("fail_fast", [None, False])
async def test_a_denial_is_no_outage_unless_every_start_is_to_go_on(
    consul: ConsulServer, path: Path, fail_fast: bool | None
) -> None:
    """A token that was taken away shows at the start, also where there is a snapshot."""
    async with users_and_a_snapshot(consul, path):
        pass
    async with scripted() as guarded:
        guarded.deny("gone")
        at = Consul(address=guarded.address, token="gone", fail_fast=fail_fast)
        server = a_server("caller", at, hrpc.with_snapshot(path))
        if fail_fast is None:
            await fails(server, "register: Consul at .* answers 403 .* has expired or was deleted")
        else:
            async with server as running:
                assert running.port


async def test_settings_of_a_database_are_in_the_snapshot_only_when_secrets_are_asked_for(
    own_consul: ConsulServer, redis_server: RedisServer, path: Path
) -> None:
    settings = {"address": "127.0.0.1", "port": redis_server.port}
    await agent.store(own_consul.address, "development/databases/redis", json.dumps(settings))
    consul = Consul(address=own_consul.address)

    def caller(secrets: bool) -> hrpc.Server:
        snapshot = hrpc.with_snapshot(path, secrets=secrets)
        return a_server("caller", consul, snapshot, hrpc.with_databases(redis.new()))

    async with caller(False):
        configs.get("databases/redis")
        await agent.store(own_consul.address, "development/limit", "20")
        assert configs.get("limit") == "20"
    await asyncio.to_thread(own_consul.kill)
    text = await fails(caller(False), "redis: no answer from Consul at")
    assert "is without key 'development/databases/redis', because it may hold secrets" in text
    assert "secrets=True" in text
    await asyncio.to_thread(own_consul.start)
    async with caller(True):
        pass
    await asyncio.to_thread(own_consul.kill)
    async with caller(True):
        assert await redis.get().ping()
