"""Probes of a service with workers say how all of them are, and what one of them is told, all of them know."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hrpc.server.workers.health import of_all
from hrpc.testing import DevConsul
from tests.echo import call
from tests.eventually import eventually
from tests.server.workers.fleet import Fleet, fleet

PORT = "hrpc.with_health_check(0)"
CHECKS = """
from hrpc import health
sick = set()

def well(number=None):
    if hrpc.worker() is None:
        raise RuntimeError("asked in the master")
    assert not sick, "index is gone"

health.check("index", well)
health.check("consumer", lambda: well(), kind="liveness")
health.check("loaded", lambda: None, kind="startup")

async def fall_ill(request, context):
    sick.add(1)

async def close(request, context):
    health.close("readiness", "no more for now")
    health.set_serving("own.Service", False)

async def open(request, context):
    health.open("readiness")

async def repair(request, context):
    await server.enter_maintenance("repairs")

async def repaired(request, context):
    await server.leave_maintenance()

add_echo(server, FallIll=fall_ill, Close=close, Open=open, Repair=repair, Repaired=repaired)
"""


async def probed(service: Fleet, kind: str) -> tuple[int, dict[str, str]]:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{service.http('health')}/healthx/{kind}") as response:
            return response.status, (await response.json())["parts"]


async def post(service: Fleet, path: str) -> int:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://127.0.0.1:{service.http('health')}/healthx/{path}") as response:
            return response.status


async def to_worker(service: Fleet, number: int, method: str) -> None:
    async def sent() -> bool:
        async with service.channel() as channel:
            if int((await call(channel, "Who")).split()[0]) != number:
                return False
            await call(channel, method)
            return True

    await eventually(sent)


async def of_grpc(service: Fleet) -> dict[int, int]:
    """What the gRPC health service of each worker says."""
    found: dict[int, int] = {}

    async def both() -> bool:
        async with service.channel() as channel:
            number = int((await call(channel, "Who")).split()[0])
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            found[number] = answer.status
        return len(found) == 2

    await eventually(both)
    return found


async def test_checkers_are_asked_in_the_workers(tmp_path: Path) -> None:
    async with fleet(tmp_path, PORT, after=CHECKS) as service:
        assert await probed(service, "readiness") == (
            200,
            {"server": "ok", "workers": "2 of 2 serve", "index": "ok"},
        )
        assert await probed(service, "liveness") == (200, {"server": "ok", "consumer": "ok"})
        assert await probed(service, "startup") == (200, {"server": "ok", "loaded": "ok"})
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{service.http('health')}/readyz?verbose") as response:
                told = await response.text()
        assert told == "[+]server ok\n[ ]workers 2 of 2 serve\n[+]index ok\nreadiness passed\n"


async def test_a_service_is_ready_while_one_worker_is_and_alive_while_all_are(tmp_path: Path) -> None:
    async with fleet(tmp_path, PORT, after=CHECKS) as service:
        await to_worker(service, 2, "FallIll")

        async def told() -> bool:
            return "worker 2" in (await probed(service, "readiness"))[1]["workers"]

        await eventually(told)
        status, parts = await probed(service, "readiness")
        assert (status, parts["index"]) == (200, "ok")
        assert parts["workers"] == "2 of 2 serve; worker 2: index: AssertionError: index is gone"
        assert await probed(service, "liveness") == (
            503,
            {"server": "ok", "consumer": "AssertionError: index is gone (worker 2)"},
        )
        await to_worker(service, 1, "FallIll")

        async def not_ready() -> bool:
            return (await probed(service, "readiness"))[0] == 503

        await eventually(not_ready)
        assert (await probed(service, "readiness"))[1]["index"] == "AssertionError: index is gone (workers 1, 2)"


async def test_a_worker_that_hangs_makes_the_service_no_less_ready_but_not_alive(tmp_path: Path) -> None:
    async with fleet(tmp_path, PORT, after=CHECKS) as service:
        answering = await service.all_answer()
        os.kill(answering[1], signal.SIGSTOP)
        try:
            (ready, parts), (alive, _) = await asyncio.gather(probed(service, "readiness"), probed(service, "liveness"))
            assert (ready, alive) == (200, 503)
            assert parts["workers"] == "2 of 2 serve; worker 1: answer: none within 1.5 s"
        finally:
            os.kill(answering[1], signal.SIGCONT)


async def test_a_switch_that_one_worker_closes_is_closed_in_all_and_in_those_to_come(tmp_path: Path) -> None:
    async with fleet(tmp_path, PORT, after=CHECKS) as service:
        await to_worker(service, 1, "Close")

        async def closed() -> bool:
            return (await probed(service, "readiness"))[0] == 503

        await eventually(closed)
        assert (await probed(service, "readiness"))[1]["switch"] == "closed: no more for now"

        async def all_closed() -> bool:
            return set((await of_grpc(service)).values()) == {health_pb2.HealthCheckResponse.NOT_SERVING}

        await eventually(all_closed)
        service.process.send(signal.SIGHUP)
        await service.says("replaced: ")
        assert set((await of_grpc(service)).values()) == {health_pb2.HealthCheckResponse.NOT_SERVING}
        await to_worker(service, 2, "Open")

        async def opened() -> bool:
            return set((await of_grpc(service)).values()) == {health_pb2.HealthCheckResponse.SERVING}

        await eventually(opened)
        assert (await probed(service, "readiness"))[0] == 200


async def test_a_switch_that_is_closed_over_http_is_closed_in_all_workers(tmp_path: Path) -> None:
    async with fleet(tmp_path, PORT, after=CHECKS) as service:
        assert await post(service, "readiness/close") == 200

        async def closed() -> bool:
            return set((await of_grpc(service)).values()) == {health_pb2.HealthCheckResponse.NOT_SERVING}

        await eventually(closed)


async def test_maintenance_that_a_worker_asks_for_is_that_of_the_service(tmp_path: Path) -> None:
    async with DevConsul() as consul:
        environ = {"CONFIGS_ADDR": consul.address, "HRPC_ADVERTISE": "127.0.0.1"}
        async with fleet(tmp_path, PORT, after=CHECKS, environ=environ) as service:
            await to_worker(service, 2, "Repair")
            status, parts = await probed(service, "readiness")
            assert (status, parts["server"]) == (503, "in maintenance: repairs")
            [[check]] = [await _maintenance_checks(consul)]
            assert check["Notes"] == "repairs"
            await to_worker(service, 1, "Repaired")
            assert (await probed(service, "readiness"))[0] == 200
            assert await _maintenance_checks(consul) == []


async def test_what_each_worker_follows_is_told_by_number(tmp_path: Path) -> None:
    listed = 'hrpc.with_static_services({"users": ["127.0.0.1:1"]})', 'hrpc.with_upstreams("users")'
    async with fleet(tmp_path, PORT, *listed) as service, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{service.http('health')}/debug/discovery?service=users") as response:
            said = await response.json()
    assert sorted(said["workers"]) == ["1", "2"]
    for worker in said["workers"].values():
        [followed] = worker["services"]
        assert "127.0.0.1:1" in str(followed)


async def _maintenance_checks(consul: DevConsul) -> list[Any]:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{consul.address}/v1/health/service/tested") as response:
            entries = await response.json()
    return [
        check for entry in entries for check in entry["Checks"] if check["CheckID"].startswith("_service_maintenance")
    ]


def test_what_workers_say_of_a_part_is_said_once() -> None:
    assert of_all({1: {"a": "ok", "b": "gone"}, 2: {"a": "late", "b": "gone"}, 3: {"server": "stopping"}}) == {
        "a": "late (worker 2)",
        "b": "gone (workers 1, 2)",
    }
    assert of_all({}) == {}
