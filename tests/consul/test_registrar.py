"""Registration: the entry is there for as long as the service is, whatever happens to the agent, and not longer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from aiohttp import web

import hrpc
from hrpc.abc import Check, Registration
from hrpc.consul import connect
from hrpc.consul.queries import Queries
from hrpc.consul.registrar import Registrar
from hrpc.consul.transport import Transport
from hrpc.consul.watch import backoff
from hrpc.errors import ConsulUnreachable
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.clock import Clock
from tests.eventually import eventually

BACK_WITHIN = 2.0


def registration(
    name: str, service_id: str = "", port: int = 4000, kind: Literal["http", "grpc", "ttl"] = "http"
) -> Registration:
    check = Check(kind, "http://127.0.0.1:9/", 86400.0, 1.0, 60.0)  # an agent asks for the first time at random in it
    return Registration(service_id or f"{name}-1", name, "127.0.0.1", port, ("development",), {"a": "b"}, 7, check)


async def listed(consul: ConsulServer, name: str) -> list[str]:
    return [entry["Service"]["ID"] for entry in await agent.instances(consul.address, name)]


async def test_the_entry_is_passing_at_once_with_all_that_was_given_and_gone_after(consul: ConsulServer) -> None:
    async with connect(Consul(address=consul.address)) as client:
        async with client.registered(registration("whole")):
            assert client.present
            (entry,) = await agent.instances(consul.address, "whole")
            service = entry["Service"]
            assert (service["Address"], service["Port"], service["Tags"]) == ("127.0.0.1", 4000, ["development"])
            assert (service["Weights"]["Passing"], service["Meta"]) == (7, {"a": "b"})
            (check,) = [check for check in entry["Checks"] if check["ServiceID"]]
            assert (check["CheckID"], check["Status"]) == ("service:whole-1", "passing")
            assert check["Type"] == "http"
        assert not client.present
        assert not await listed(consul, "whole")


async def test_two_instances_at_one_agent_and_in_one_process_are_both_listed(consul: ConsulServer) -> None:
    servers = [
        hrpc.new_server(
            hrpc.with_server_name("twice"),
            hrpc.with_listen_port(0, host="127.0.0.1"),
            hrpc.with_consul(Consul(address=consul.address)),
            hrpc.with_graceful_stop(drain_delay=0),
        )
        for _ in range(2)
    ]
    ports: list[int] = []
    stop = threading.Event()

    def run(server: hrpc.Server, up: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        async def main() -> None:
            async with server:
                ports.append(server.port)
                loop.call_soon_threadsafe(up.set)
                await asyncio.to_thread(stop.wait)

        asyncio.run(main())

    ups = [asyncio.Event(), asyncio.Event()]
    threads = [
        asyncio.create_task(asyncio.to_thread(run, server, up, asyncio.get_running_loop()))
        for server, up in zip(servers, ups, strict=True)
    ]
    for up in ups:
        await asyncio.wait_for(up.wait(), 20)
    entries = await agent.instances(consul.address, "twice")
    assert sorted(entry["Service"]["Port"] for entry in entries) == sorted(ports)
    assert len({entry["Service"]["ID"] for entry in entries}) == 2
    stop.set()
    await asyncio.gather(*threads)
    assert not await listed(consul, "twice")


async def test_somebody_else_deregistering_it_is_undone(consul: ConsulServer) -> None:
    async with connect(Consul(address=consul.address)) as client, client.registered(registration("undone")):
        for _ in range(3):
            await agent.deregister(consul.address, "undone-1")

            async def back() -> bool:
                return await listed(consul, "undone") == ["undone-1"]

            await eventually(back)


async def test_an_agent_that_was_killed_and_wiped_has_it_again_within_two_seconds(
    own_consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pauses: how long a busy machine takes for the rest says nothing."""
    pauses: list[float] = []

    def pause(failures: int) -> float:
        pauses.append(backoff(failures))
        return pauses[-1]

    monkeypatch.setattr("hrpc.consul.registrar.backoff", pause)
    async with connect(Consul(address=own_consul.address)) as client, client.registered(registration("lost")):
        for _ in range(2):
            await asyncio.to_thread(own_consul.kill)

            async def missed() -> bool:
                return not client.present

            await eventually(missed)
            own_consul.wipe()
            await asyncio.to_thread(own_consul.start)
            del pauses[:-1]  # but the one that may last still

            async def back() -> bool:
                return await listed(own_consul, "lost") == ["lost-1"]

            await eventually(back)
            assert sum(pauses) < BACK_WITHIN


async def test_a_port_or_tag_that_somebody_changed_is_put_right(consul: ConsulServer) -> None:
    async with connect(Consul(address=consul.address)) as client, client.registered(registration("changed")):
        await asyncio.to_thread(
            agent.put, consul.address, "/v1/agent/service/register", b'{"ID":"changed-1","Name":"changed","Port":1}'
        )

        async def right() -> bool:
            return [entry["Service"]["Port"] for entry in await agent.instances(consul.address, "changed")] == [4000]

        await eventually(right)


class Scripted:
    """An agent that writes down what is asked of it, and holds each registration until it is let through."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_through = asyncio.Event()
        self.let_through.set()
        self.registering = asyncio.Event()
        self.address = ""

    async def register(self, _: web.Request) -> web.Response:
        self.registering.set()
        await self.let_through.wait()
        self.asked.append("register")
        return web.Response()

    async def deregister(self, _: web.Request) -> web.Response:
        self.asked.append("deregister")
        return web.Response()

    async def missing(self, _: web.Request) -> web.Response:
        return web.Response(status=404, text="unknown service ID")

    async def strange(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "ContentHash": "1",
                "Service": "strange",
                "Address": "127.0.0.1",
                "Port": 4000,
                "Weights": "heavy",
                "Tags": 3,
            }
        )

    async def leader(self, _: web.Request) -> web.Response:
        return web.json_response("127.0.0.1:8300")


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    script = Scripted()
    app = web.Application()
    app.router.add_get("/v1/status/leader", script.leader)
    app.router.add_put("/v1/agent/service/register", script.register)
    app.router.add_put("/v1/agent/service/deregister/{id}", script.deregister)
    app.router.add_put("/v1/agent/check/pass/{id}", script.missing)
    app.router.add_get("/v1/agent/service/strange-1", script.strange)
    app.router.add_get("/v1/agent/service/{id}", script.missing)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    script.address = f"{host}:{port}"
    yield script
    script.let_through.set()  # for a request whose client has gone
    await runner.cleanup()


@pytest.mark.parametrize("kind", ["http", "ttl"])
async def test_nothing_is_registered_after_the_deregistration_even_when_one_was_under_way(
    scripted: Scripted, kind: Literal["http", "ttl"]
) -> None:
    @asynccontextmanager
    async def registered() -> AsyncIterator[None]:
        entry = registration("raced", kind=kind)
        async with connect(Consul(address=scripted.address)) as client, client.registered(entry):
            yield

    life = registered()
    await life.__aenter__()
    scripted.registering.clear()
    scripted.let_through.clear()
    await asyncio.wait_for(scripted.registering.wait(), 10)  # the keeper misses it and registers again
    leaving = asyncio.create_task(life.__aexit__(None, None, None))
    await asyncio.sleep(0)
    assert not leaving.done()
    scripted.let_through.set()
    await leaving
    assert scripted.asked[-1] == "deregister"
    assert scripted.asked.count("deregister") == 1
    assert scripted.asked.count("register") >= 2


async def test_an_entry_of_a_shape_that_is_not_consuls_is_an_error_and_ends_nothing(scripted: Scripted) -> None:
    entry = Registration(
        "strange-1", "strange", "127.0.0.1", 4000, (), {}, 1, Check("http", "http://127.0.0.1:9/", 60.0, 1.0, 60.0)
    )

    async with connect(Consul(address=scripted.address)) as client, client.registered(entry):

        async def told() -> bool:
            report = client.report()
            return report is not None and "not Consul's" in str(report.error)

        await eventually(told)


async def test_a_start_that_is_cancelled_while_it_registers_deregisters_after_that(scripted: Scripted) -> None:
    scripted.let_through.clear()
    async with connect(Consul(address=scripted.address)) as client:

        async def start() -> None:
            async with client.registered(registration("cancelled")):
                pass

        starting = asyncio.create_task(start())
        await asyncio.wait_for(scripted.registering.wait(), 10)
        starting.cancel()
        await asyncio.sleep(0.1)  # in which a deregistration would come, were it not for the answer
        scripted.let_through.set()
        await asyncio.wait({starting})
        assert starting.cancelled()
    assert scripted.asked == ["register", "deregister"]


async def test_a_token_that_comes_while_the_entry_is_put_renews_it(
    consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(Consul(address=consul.address)) as client:
        send, sent = client._transport.request, 0

        async def request(method: str, path: str, *args: Any, **options: Any) -> Any:
            nonlocal sent
            answer = await send(method, path, *args, **options)
            if path == "/v1/agent/service/register":
                sent += 1
                if sent == 1:
                    client._registrar._token_changed()
            return answer

        monkeypatch.setattr(client._transport, "request", request)
        async with client.registered(registration("renewed")):

            async def renewed() -> bool:
                report = client.report()
                return report is not None and report.puts_again == 1

            await eventually(renewed)
            assert sent == 2


async def test_a_registration_that_was_not_answered_is_taken_back(scripted: Scripted) -> None:
    scripted.let_through.clear()
    async with connect(Consul(address=scripted.address, timeout=1.0)) as client:
        with pytest.raises(ConsulUnreachable, match="within 1 s"):
            async with client.registered(registration("unanswered")):
                pass
    assert scripted.asked == ["deregister"]


async def test_after_an_hour_of_outage_it_registers_again(
    own_consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is the test's, and so are the pauses, which move it: all tries of that hour are made, one in ten."""
    clock, tries = Clock(), 0
    outage_ends = clock.now + 3600

    def pause(failures: int) -> float:
        nonlocal tries
        tries += 1
        clock.now += 10 * backoff(failures)
        return 0.0 if clock.now < outage_ends else 0.05

    monkeypatch.setattr("hrpc.consul.registrar.backoff", pause)
    consul = Consul(address=own_consul.address)
    async with Transport(consul) as transport:
        registrar = Registrar(transport, Queries(consul, transport).api, clock=clock)
        async with registrar.registered(registration("patient")):
            await asyncio.to_thread(own_consul.kill)

            async def over() -> bool:
                return clock.now >= outage_ends

            await eventually(over, 60)
            report = registrar.report()
            assert report is not None
            assert not report.present
            assert report.missing_for is not None
            assert 3590 < report.missing_for < 3700
            assert "no answer" in str(report.error)
            assert tries > 360  # ten seconds of this clock at most between two of them
            await asyncio.to_thread(own_consul.start)

            async def back() -> bool:
                return registrar.present and await listed(own_consul, "patient") == ["patient-1"]

            await eventually(back)
