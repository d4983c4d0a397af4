"""Services that are listed by hand, in code or in a file."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

import hrpc
from hrpc import _runtime, service
from hrpc.consul import Client
from hrpc.errors import ConsulUnreachable, NotRunning, OptionError, ServiceNotFound, StartError
from hrpc.option import Consul
from hrpc.static import services as followed
from hrpc.testing.servers import ConsulServer
from tests.echo import call
from tests.eventually import eventually
from tests.service.peers import called, entry


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    monkeypatch.setattr(followed, "FOLLOW_INTERVAL", 0.01)


def a_server(*options: hrpc.Option) -> hrpc.Server:
    stop = hrpc.with_graceful_stop(drain_delay=0)
    return hrpc.new_server(hrpc.with_server_name("caller"), hrpc.with_listen_port(0, host="127.0.0.1"), stop, *options)


def write(path: Path, services: Any) -> None:
    """In one step, as an editor or a deployment does."""
    new = path.with_suffix(".new")
    new.write_text(services if isinstance(services, str) else json.dumps(services))
    new.replace(path)


async def test_listed_services_are_found_and_called_without_consul() -> None:
    async with called(b"a") as a, called(b"b") as b:
        listed = {"users": [f"127.0.0.1:{a}", f"127.0.0.1:{b}"], "empty": []}
        async with a_server(hrpc.with_static_services(listed), hrpc.with_upstreams("users")):
            assert {service.get("users").port for _ in range(2)} == {a, b}
            assert await service.list() == {"users": ("development",), "empty": ("development",)}
            async with service.channel("users") as channel:
                assert {await call(channel, "Name") for _ in range(4)} == {b"a", b"b"}
            for name in ("empty", "nobody"):
                with pytest.raises(ServiceNotFound):
                    service.get(name)


async def test_instances_have_weights_tags_versions_zones_and_datacenters() -> None:
    listed = {
        "users": [
            {"address": "[::1]:9000", "weight": 3, "tags": ["canary"], "meta": {"version": "2", "zone": "b"}},
            {"address": "localhost:9001", "datacenter": "dc2"},
        ]
    }
    async with a_server(hrpc.with_static_services(listed)):
        found = service.get("users", ["canary", "development"])
        assert (found.endpoint, found.weight) == ("[::1]:9000", 3)
        assert service.get("users", version="2").endpoint == "[::1]:9000"
        (first, _) = (await anext(service.watch("users"))).instances
        assert (first.version, first.zone) == ("2", "b")
        assert service.get("users", version=None, datacenters=["dc2"]).weight == 3
        with pytest.raises(ServiceNotFound):
            service.get("users", "production")
        with pytest.raises(ServiceNotFound):
            service.get("users", version="3")


async def test_a_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "services.json"
    write(path, {"users": ["127.0.0.1:9000"]})
    async with a_server(hrpc.with_static_services(path)), asyncio.timeout(20):
        watching = service.watch("users")
        assert [each.port for each in (await anext(watching)).instances] == [9000]
        write(path, {"users": ["127.0.0.1:9000", "127.0.0.1:9001"], "orders": ["127.0.0.1:9100"]})
        assert [each.port for each in (await anext(watching)).added] == [9001]
        assert service.get("orders").port == 9100


async def test_a_file_is_read_at_once_when_the_server_is_told_to_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "FOLLOW_INTERVAL", 1000.0)
    path = tmp_path / "services.json"
    write(path, {"users": ["127.0.0.1:9000"]})
    async with a_server(hrpc.with_static_services(path)) as server, asyncio.timeout(20):
        watching = service.watch("users")
        await anext(watching)
        write(path, {"users": ["127.0.0.1:9001"]})
        assert server._running is not None
        server._running.request_restart()
        assert [each.port for each in (await anext(watching)).instances] == [9001]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "takes a list of instances by name"),
        ({"users": ["nowhere"]}, "'nowhere' is no address"),
        (None, "cannot be read: no such file"),
    ],
)
async def test_a_bad_write_keeps_the_list_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: Any, says: str
) -> None:
    path = tmp_path / "services.json"
    write(path, {"users": ["127.0.0.1:9000"]})
    async with a_server(hrpc.with_static_services(os.fspath(path))) as server:
        service.get("users")
        assert server._running is not None
        directory = server._running.parts.directory
        assert directory is not None
        (watched,) = directory.entries
        if wrong is None:
            path.unlink()
        else:
            write(path, wrong)

        async def told() -> bool:
            return watched.report().error is not None

        await eventually(told)
        assert says in str(watched.report().error)
        assert service.get("users").port == 9000
        write(path, {"users": ["127.0.0.1:9001"]})

        async def healed() -> bool:
            return service.get("users").port == 9001

        await eventually(healed)
        assert watched.report().error is None
    assert capsys.readouterr().out.count("the list stays as it was") == 1


async def test_a_file_that_is_wrong_at_the_start_fails_it(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"discovery: hrpc.with_static_services\('.*nowhere.json'\): cannot be read"):
        async with a_server(hrpc.with_static_services(tmp_path / "nowhere.json")):
            pass


async def test_a_listed_name_wins_over_consul_and_the_others_are_looked_for_there(consul: ConsulServer) -> None:
    from hrpc.consul import connect

    async with connect(Consul(address=consul.address)) as registry:
        await both(consul, registry)


async def both(consul: ConsulServer, registry: Client) -> None:
    listed = hrpc.with_static_services({"mine": ["127.0.0.1:9000"]})
    async with (
        registry.registered(entry("mine", 1, 4001)),
        registry.registered(entry("theirs", 1, 4002)),
        a_server(hrpc.with_consul(Consul(address=consul.address)), listed),
    ):
        assert (service.get("mine").port, service.get("theirs").port) == (9000, 4002)
        assert {"mine", "theirs"} <= set(await service.list())


@pytest.mark.parametrize(
    ("services", "says"),
    [
        (7, "takes a list of instances by name"),
        ({"us_ers": []}, "us_ers"),
        ({"users": "127.0.0.1:9000"}, r"'users' takes a list of instances"),
        ({"users": ["127.0.0.1"]}, r"'127.0.0.1' is no address"),
        ({"users": ["::1:9000"]}, "is no address"),
        ({"users": [":9000"]}, "is no address"),
        ({"users": ["127.0.0.1:0"]}, "is no address"),
        ({"users": ["127.0.0.1:70000"]}, "is no address"),
        ({"users": [7]}, "neither"),
        ({"users": [{"port": 9000}]}, "neither"),
        ({"users": [{"address": "127.0.0.1:1", "wieght": 2}]}, "'wieght' is none of address, weight"),
        ({"users": [{"address": "127.0.0.1:1", "weight": 0}]}, "weight=0"),
        ({"users": [{"address": "127.0.0.1:1", "tags": "a"}]}, "tags is 'a'"),
        ({"users": [{"address": "127.0.0.1:1", "meta": {"a": 1}}]}, "meta is"),
        ({"users": [{"address": "127.0.0.1:1", "datacenter": 1}]}, "datacenter is"),
        ({"users": ["127.0.0.1:1", "127.0.0.1:1"]}, "twice"),
    ],
)
def test_a_mistake_in_a_list_is_told_where_it_is_made(services: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says) as caught:
        hrpc.with_static_services(services)
    assert str(caught.value).startswith("hrpc.with_static_services")


async def test_what_there_is_not_without_consul_or_a_list_names_both_options() -> None:
    async with a_server():
        with pytest.raises(NotRunning, match=r"hrpc.with_consul\(…\) or hrpc.with_static_services\(…\)"):
            service.get("users")


async def test_a_listed_service_needs_no_consul_even_where_one_is_away(own_consul: ConsulServer) -> None:
    options = (
        hrpc.with_consul(Consul(address=own_consul.address)),
        hrpc.with_static_services({"mine": ["127.0.0.1:9000"]}),
    )
    async with a_server(*options):
        await asyncio.to_thread(own_consul.kill)
        assert service.get("mine").port == 9000
        with pytest.raises(ConsulUnreachable):
            service.get("theirs")
        await asyncio.to_thread(own_consul.start)


async def test_a_channel_belongs_to_the_event_loop() -> None:
    async with a_server(hrpc.with_static_services({"users": ["127.0.0.1:4000"]})):
        runtime = _runtime.current()
        assert runtime is not None

        def in_a_thread() -> None:
            _runtime.enter_thread(runtime)
            assert service.get("users").target() == "127.0.0.1:4000"
            service.channel("users")

        with pytest.raises(NotRunning, match=r"calls to 'users' are made on the event loop .*from_thread"):
            await asyncio.to_thread(in_a_thread)
        assert service.channel("users")
