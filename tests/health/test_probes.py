"""The probes, over HTTP and gRPC: true while the server starts, serves and stops."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import hrpc
from hrpc import _runtime, life
from hrpc.abc import PoolStats
from hrpc.cli.reaching import reach
from hrpc.errors import DatabaseUnavailable
from tests.echo import SERVICE, add_echo

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Database:
    """A database that is well, away, or silent."""

    name = "ledger"
    needs_settings = False
    slot: Any = _runtime.Slot("ledger", "…")
    client = None

    def __init__(self) -> None:
        self.away = False
        self.silent = False
        self.pings = 0
        self.opening = asyncio.Event()
        self.may_open = asyncio.Event()
        self.may_open.set()

    @asynccontextmanager
    async def open(self, _: object) -> AsyncIterator[Database]:
        self.opening.set()
        await self.may_open.wait()
        yield self

    async def ping(self) -> None:
        self.pings += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.away:
            raise DatabaseUnavailable("ledger at 10.0.0.7:3306 is away")

    def stats(self) -> PoolStats:
        return PoolStats(2, 1, 3)

    def is_unavailable(self, error: BaseException) -> bool:
        return False


def a_server(port: int, *options: hrpc.Option) -> hrpc.Server:
    local = hrpc.with_listen_port(0, host="127.0.0.1")
    server = hrpc.new_server(hrpc.with_server_name("probed"), local, hrpc.with_health_check(port), *options)
    add_echo(server)
    return server


async def get(port: int, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.text()


async def test_a_serving_server_is_alive_and_ready(free_port: int) -> None:
    async with a_server(free_port, hrpc.with_databases(Database())):
        assert await get(free_port, "/") == (200, "I'm alive.")
        status, body = await get(free_port, "/healthx/liveness")
        assert (status, body["code"], body["data"]) == (200, 0, "ok")
        status, body = await get(free_port, "/healthx/readiness")
        assert (status, body["code"], body["msg"], body["data"]) == (200, 0, "success", "ok")
        assert body["parts"] == {"server": "ok", "ledger": "ok"}
        assert abs(body["timestamp"] - time.time()) < 60
        assert (await get(free_port, "/nothing"))[0] == 404


async def test_readiness_names_the_part_that_is_away_and_liveness_does_not_mind(free_port: int) -> None:
    database = Database()
    async with a_server(free_port, hrpc.with_databases(database)):
        database.away = True
        status, body = await get(free_port, "/healthx/readiness")
        assert (status, body["code"], body["data"]) == (503, 503, "failed")
        assert body["msg"] == "ledger: ledger at 10.0.0.7:3306 is away"
        assert (await get(free_port, "/healthx/liveness"))[0] == 200
        assert (await get(free_port, "/"))[0] == 200


async def test_a_part_that_is_silent_fails_at_its_limit_and_many_probes_ask_it_once(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrpc.health.state.PART_LIMIT", 1.0)
    database = Database()
    async with a_server(free_port, hrpc.with_databases(database)):
        database.silent = True
        answers = await asyncio.gather(*(get(free_port, "/healthx/readiness") for _ in range(20)))
        assert {(status, body["parts"]["ledger"]) for status, body in answers} == {(503, "no answer within 1 s")}
        assert database.pings == 1


async def test_while_it_stops_it_is_alive_and_not_ready(free_port: int) -> None:
    seen: list[tuple[int, Any]] = []
    entered, may_end = asyncio.Event(), asyncio.Event()

    async def hold(_: bytes, __: Any) -> bytes:
        entered.set()
        await may_end.wait()
        return b""

    server = hrpc.new_server(
        hrpc.with_server_name("probed"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_health_check(free_port),
    )
    add_echo(server, Slow=hold)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        running = asyncio.ensure_future(channel.unary_unary(f"/{SERVICE}/Slow")(b""))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        while (await get(free_port, "/healthx/readiness"))[0] == 200:
            await asyncio.sleep(0)
        seen.append(await get(free_port, "/healthx/readiness"))
        seen.append(await get(free_port, "/"))
        may_end.set()
        await running
        await stopping
    assert seen[0][1]["parts"] == {"server": "stopping"}
    assert seen[1] == (200, "I'm alive.")


async def test_the_grpc_health_service_answers_for_the_server_and_each_of_its_services(free_port: int) -> None:
    async with a_server(free_port) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"))
        assert (await watch.read()).status == SERVICE_UNKNOWN
        watch.cancel()


async def test_a_watch_is_told_of_the_stop_and_does_not_hold_it_up(free_port: int) -> None:
    async with a_server(free_port, hrpc.with_graceful_stop(grace=60)) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            watches = [health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()) for _ in range(20)]
            assert [(await watch.read()).status for watch in watches] == [SERVING] * 20
            async with asyncio.timeout(30):
                await server.stop()
            assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}


async def test_a_health_servicer_of_the_user_takes_the_place_of_ours(free_port: int) -> None:
    class Own(health_pb2_grpc.HealthServicer):
        async def Check(self, request: Any, context: Any) -> Any:
            return health_pb2.HealthCheckResponse(status=NOT_SERVING)

    server = a_server(free_port)
    health_pb2_grpc.add_HealthServicer_to_server(Own(), server)  # type: ignore[arg-type]
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == NOT_SERVING


async def test_exit_hooks_run_when_the_probes_have_ended(free_port: int) -> None:
    seen: list[bool] = []

    async def probe() -> None:
        try:
            await get(free_port, "/")
            seen.append(True)
        except aiohttp.ClientConnectorError:
            seen.append(False)

    async with a_server(free_port):
        life.when_exit(probe)
    assert seen == [False]


async def test_while_it_starts_it_answers_but_is_not_ready(free_port: int) -> None:
    """The probes are up before gRPC is; a check of the whole takes place at each step."""
    seen: list[tuple[int, Any]] = []

    class Engine:
        own_target = None

        async def bind(self, host: str, port: int, certificates: object) -> int:
            seen.append(await get(free_port, "/healthx/readiness"))
            seen.append(await get(free_port, "/"))
            return 1

        async def start(self, handlers: object) -> None: ...

        async def stop(self, grace: float) -> None: ...

    from hrpc.engine import grpcio

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpcio, "GrpcioEngine", lambda *_, **__: Engine())
        async with a_server(free_port):
            pass
    assert seen[0][0] == 503
    assert seen[0][1]["parts"] == {"server": "starting"}
    assert seen[1] == (200, "I'm alive.")


async def test_while_it_starts_startup_says_in_which_step_it_is_and_which_are_done(
    free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HRPC_RUN_DIR", str(tmp_path / "run"))
    warming, may_serve = asyncio.Event(), asyncio.Event()

    async def warm() -> None:
        warming.set()
        await may_serve.wait()

    def asked() -> dict[str, Any]:
        with reach("probed") as reached:
            return reached.ask("startup", timeout=30)

    async def run() -> None:
        async with a_server(free_port, hrpc.with_pre_run(warm, name="warm")):
            seen.append(await get(free_port, "/healthx/startup"))

    seen: list[tuple[int, Any]] = []
    running = asyncio.create_task(run())
    await warming.wait()
    status, body = await get(free_port, "/healthx/startup")
    assert status == 503
    assert re.fullmatch(r"server: starting: \[step \d+/\d+\] warm, for \d+\.\d s", body["msg"])
    assert next(iter(body["steps"])) == "control"
    assert "warm" not in body["steps"]
    answer = await asyncio.to_thread(asked)
    assert not answer["ok"]
    assert answer["text"].startswith("server: starting: [step")
    assert [(await get(free_port, path))[0] for path in ("/livez", "/readyz", "/startupz")] == [200, 503, 503]
    may_serve.set()
    await running
    assert seen[0][0] == 200
    assert "warm" in seen[0][1]["steps"]
