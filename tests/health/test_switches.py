"""The switches of the probes: by code, over HTTP, over gRPC to those who watch; not anybody may turn them."""

from __future__ import annotations

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import hrpc
from hrpc import health
from hrpc.errors import OptionError
from hrpc.health.checker import Kind
from tests.echo import SERVICE, call
from tests.health.probed import a_server, get, post

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TOKEN = "0123456789abcdef"

both_engines = pytest.mark.parametrize(
    "engine",
    [hrpc.with_engine("grpcio"), hrpc.with_engine("native", allow_unbounded_receive=True)],
    ids=["grpcio", "native"],
)


async def test_a_closed_kind_fails_whatever_its_checkers_say_until_it_is_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with a_server() as server:
        for kind in Kind:
            health.close(kind, "rebuilding the index")
            status, body = await get(server, f"/healthx/{kind}")
            assert (status, body["msg"]) == (503, "switch: closed: rebuilding the index")
            assert [(await get(server, f"/healthx/{other}"))[0] for other in Kind if other != kind] == [200, 200]
            health.open(kind)
            health.open(kind)
            assert (await get(server, f"/healthx/{kind}"))[0] == 200
    output = capsys.readouterr().out
    assert output.count("probed: readiness is closed: rebuilding the index") == 1
    assert output.count("probed: readiness is open again") == 1


async def test_http_turns_the_switches(capsys: pytest.CaptureFixture[str]) -> None:
    async with a_server() as server:
        for kind in Kind:
            status, body = await post(server, f"/healthx/{kind}/close")
            assert (status, body["code"], body["msg"], body["data"]) == (200, 0, "success", "ok")
            assert (await get(server, f"/healthx/{kind}"))[1]["msg"] == "switch: closed: by a request over HTTP"
            assert (await post(server, f"/healthx/{kind}/open"))[0] == 200
            assert (await get(server, f"/healthx/{kind}"))[0] == 200
        await post(server, "/healthx/readiness/close?reason=by+hand")
        assert (await get(server, "/healthx/readiness"))[1]["msg"] == "switch: closed: by hand"
        status, body = await post(server, "/healthx/readiness/close?reason=%0A")
        assert (status, body["msg"].partition(":")[0]) == (400, "close(reason='\\n')")
        assert (await get(server, "/healthx/readiness/open"))[0] == 405
        assert (await post(server, "/healthx/lunch/open"))[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:6688"},
        {"Referer": "http://evil.example.org/"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Host": "orders.example.org"},
        {"Authorization": "Bearer wrong-wrong-wrong"},
    ],
)
async def test_a_browser_a_proxy_and_a_wrong_token_turn_nothing(headers: dict[str, str]) -> None:
    async with a_server(hrpc.with_debug(TOKEN)) as server:
        status, body = await post(server, "/healthx/liveness/close", **headers)
        assert status == 403
        assert "HRPC_DEBUG_TOKEN" in body["msg"]
        assert (await get(server, "/healthx/liveness"))[0] == 200
        assert (await post(server, "/healthx/liveness/close", **headers | {"Authorization": f"Bearer {TOKEN}"}))[
            0
        ] == 200
        assert (await get(server, "/healthx/liveness"))[0] == 503


async def test_another_machine_turns_them_with_the_token_alone(elsewhere: str) -> None:
    async with a_server(hrpc.with_debug(TOKEN), host="0.0.0.0") as server:
        assert (await post(server, "/healthx/readiness/close", elsewhere))[0] == 403
        assert (await post(server, "/healthx/readiness/close", elsewhere, Authorization=f"Bearer {TOKEN}"))[0] == 200
    async with a_server(host="0.0.0.0") as server:
        assert (await post(server, "/healthx/readiness/close", elsewhere))[0] == 403


async def test_text_names_what_is_wrong_and_with_verbose_what_is_well() -> None:
    async with a_server() as server:
        for path, kind in (("/startupz", "startup"), ("/livez", "liveness"), ("/readyz", "readiness")):
            assert await get(server, path) == (200, "ok")
            assert await get(server, f"{path}?verbose") == (200, f"[+]server ok\n{kind} passed\n")
            health.close(kind, "by hand")
            assert await get(server, path) == (503, f"[+]server ok\n[-]switch closed: by hand\n{kind} failed\n")


@both_engines
async def test_who_watches_over_grpc_is_told_of_the_switch_and_calls_are_served_on(engine: hrpc.Option) -> None:
    async with a_server(engine) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", SERVICE)]
        assert [(await watch.read()).status for watch in watches] == [SERVING, SERVING]
        await post(server, "/healthx/readiness/close")
        assert [(await watch.read()).status for watch in watches] == [NOT_SERVING, NOT_SERVING]
        assert await call(channel, "Echo") == b"x"
        health.open("readiness")
        assert [(await watch.read()).status for watch in watches] == [SERVING, SERVING]
        for watch in watches:
            watch.cancel()


@both_engines
async def test_one_service_can_say_that_it_wants_no_calls(engine: hrpc.Option) -> None:
    async with a_server(engine) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        whole, one, new = (
            stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", SERVICE, "orders.v1.Reports")
        )
        assert (await whole.read()).status == (await one.read()).status == SERVING
        assert (await new.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        health.set_serving(SERVICE, False)
        health.set_serving("orders.v1.Reports", True)
        assert (await one.read()).status == NOT_SERVING
        assert (await new.read()).status == SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE))).status == NOT_SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
        assert (await get(server, "/readyz"))[0] == 200
        health.set_serving(SERVICE, True)
        assert (await one.read()).status == SERVING
        for watch in (whole, one, new):
            watch.cancel()


async def test_a_thread_of_the_server_tells_those_who_watch() -> None:
    async with a_server() as server, grpc.aio.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        health.check("closes", lambda: health.close("readiness"))
        await get(server, "/readyz")
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()


@both_engines
async def test_probes_can_be_asked_over_grpc_by_the_name_of_their_kind(engine: hrpc.Option) -> None:
    async with a_server(engine) as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        health.check("no", lambda: False, kind="liveness")
        found = {kind: (await stub.Check(health_pb2.HealthCheckRequest(service=kind))).status for kind in Kind}
        assert found == {"startup": SERVING, "liveness": NOT_SERVING, "readiness": SERVING}
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="liveness"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


async def test_what_is_no_kind_or_service_or_reason_is_refused() -> None:
    async with a_server():
        with pytest.raises(
            OptionError, match=r"health.close\(kind='ready'\): takes 'startup', 'liveness', 'readiness'"
        ):
            health.close("ready")
        with pytest.raises(OptionError, match=r"health.open\(kind='ready'\)"):
            health.open("ready")
        with pytest.raises(OptionError, match=r"health.close\(reason=''\)"):
            health.close("readiness", "")
        with pytest.raises(OptionError, match=r"health.set_serving: takes the full name of a service"):
            health.set_serving(3, False)  # type: ignore[arg-type]
