"""Checks: what they find, how long it lasts, and what happens to them when their service registers again."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.contract.agent_client import AgentClient
from tests.contract.conftest import Target


async def test_ttl_check_follows_its_heartbeats(agent: AgentClient) -> None:
    check = f"service:{agent.name}"
    await agent.register(Check={"TTL": "30s"})
    found = await agent.until_check(check, "critical")
    assert (found["Name"], found["Type"]) == (f"Service '{agent.name}' check", "ttl")
    assert (found["ServiceID"], found["ServiceName"]) == (agent.name, agent.name)

    assert (await agent.put(f"/agent/check/pass/{check}", note="all well")).status == 200
    assert (await agent.until_check(check, "passing"))["Output"] == "all well"
    await agent.until_listed(agent.name, passing="")

    await agent.put(f"/agent/check/warn/{check}", note="slow")
    assert (await agent.until_check(check, "warning"))["Output"] == "slow"
    await agent.until_listed(passing="")

    await agent.put(f"/agent/check/fail/{check}", note="dead")
    assert (await agent.until_check(check, "critical"))["Output"] == "dead"

    await agent.put(f"/agent/check/update/{check}", {"Status": "passing", "Output": "back"})
    assert (await agent.until_check(check, "passing"))["Output"] == "back"


async def test_ttl_check_without_heartbeat_turns_critical(agent: AgentClient) -> None:
    await agent.register(Check={"TTL": "300ms", "Status": "passing"})
    check = f"service:{agent.name}"
    await agent.put(f"/agent/check/pass/{check}", note="still here")
    found = await agent.until_check(check, "critical")
    assert found["Output"].startswith("TTL expired")


async def test_heartbeat_with_the_same_status_wakes_nobody(agent: AgentClient) -> None:
    check = f"service:{agent.name}"
    await agent.register(Check={"TTL": "30s", "Status": "passing"})
    listed = await agent.until_listed(agent.name, passing="")
    await agent.put(f"/agent/check/pass/{check}", note="first")
    await agent.put(f"/agent/check/pass/{check}", note="second")
    assert (await agent.get("/agent/checks")).body[check]["Output"] == "second"
    later = await agent.health(index=str(listed.index), wait="200ms")
    assert later.index == listed.index


async def test_heartbeat_for_no_check_is_an_error(agent: AgentClient) -> None:
    for word in ("pass", "warn", "fail"):
        answer = await agent.put(f"/agent/check/{word}/nobody-has-this")
        # Consul 1.8 says 500, later ones 404.
        assert answer.status in (500, 404)
        assert "nobody-has-this" in answer.text


async def test_status_that_does_not_exist_is_refused(agent: AgentClient) -> None:
    await agent.register(Check={"TTL": "30s"})
    answer = await agent.put(f"/agent/check/update/service:{agent.name}", {"Status": "splendid"})
    assert (answer.status, answer.text) == (400, "Invalid check status: 'splendid'")


@pytest.mark.parametrize("ttl", ["30s", "1m30s", "1.5h", "1h0m30s", "+30s", "30000ms", 30_000_000_000])
async def test_durations_are_those_of_go(agent: AgentClient, ttl: str | int) -> None:
    assert (await agent.register(Check={"TTL": ttl, "Status": "passing"})).status == 200
    assert await agent.check_statuses() == {f"service:{agent.name}": "passing"}


@pytest.mark.parametrize("ttl", ["30", "s", "1 s", "1d", "1m 30s", "-1s"])
async def test_what_is_no_duration_is_refused(agent: AgentClient, ttl: object) -> None:
    assert (await agent.register(Check={"TTL": ttl})).status == 400


async def test_check_in_which_everything_is_zero_counts_as_none(agent: AgentClient) -> None:
    for nothing in ({}, {"TTL": "0"}, {"TTL": 0, "HTTP": ""}):
        assert (await agent.register(Check=nothing)).status == 200
        assert await agent.check_statuses() == {}
        assert (await agent.register(Checks=[nothing])).status == 400


async def test_check_begins_with_the_status_asked_for(agent: AgentClient) -> None:
    await agent.register(Check={"TTL": "30s", "Status": "warning"})
    await agent.until_check(f"service:{agent.name}", "warning")


async def test_http_check_turns_critical_and_back(target: Target, agent: AgentClient) -> None:
    check = f"service:{agent.name}"
    await agent.register(Check={"HTTP": target.url, "Interval": "1s"})
    found = await agent.until_check(check, "passing")
    assert found["Output"] == f"HTTP GET {target.url}: 200 OK Output: I say 200"
    assert found["Type"] == "http"
    await agent.until_listed(agent.name, passing="")
    assert target.requests[0][0] == "GET"
    assert target.requests[0][1]["User-Agent"] == "Consul Health Check"

    target.status = 503
    assert "503 Service Unavailable" in (await agent.until_check(check, "critical"))["Output"]
    await agent.until_listed(passing="")
    target.status = 429
    await agent.until_check(check, "warning")
    target.status = 204
    await agent.until_check(check, "passing")
    await agent.until_listed(agent.name, passing="")


async def test_http_check_sends_what_it_is_told(target: Target, agent: AgentClient) -> None:
    asked = {"Method": "POST", "Header": {"X-Probe": ["yes"], "User-Agent": ["mine"]}, "Body": "ping"}
    await agent.register(Check={"HTTP": target.url, "Interval": "1s"} | asked)
    await agent.until_check(f"service:{agent.name}", "passing")
    method, headers, body = target.requests[0]
    assert (method, headers["X-Probe"], headers["User-Agent"], body) == ("POST", "yes", "mine", "ping")


async def test_single_failures_are_forgiven_when_asked_for(target: Target, agent: AgentClient) -> None:
    check = f"service:{agent.name}"
    await agent.register(Check={"HTTP": target.url, "Interval": "1s", "FailuresBeforeCritical": 3})
    await agent.until_check(check, "passing")
    before = len(target.requests)
    target.status = 500
    await agent.until_check(check, "critical")
    assert len(target.requests) - before >= 3


async def test_tcp_check_needs_a_listener(agent: AgentClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        await agent.register(Check={"TCP": where, "Interval": "1s"})
        found = await agent.until_check(f"service:{agent.name}", "passing")
        assert found["Output"] == f"TCP connect {where}: Success"
        assert found["Type"] == "tcp"
    await agent.until_check(f"service:{agent.name}", "critical")


async def test_grpc_check_asks_for_the_service_it_names(agent: AgentClient) -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await servicer.set("orders", health_pb2.HealthCheckResponse.SERVING)
        where = f"127.0.0.1:{port}"
        names = {"server": where, "orders": f"{where}/orders", "unknown": f"{where}/unknown"}
        checks = [
            {"CheckID": f"{agent.name}:{key}", "GRPC": target, "Interval": "1s", "Status": status}
            for (key, target), status in zip(names.items(), ("critical", "critical", "passing"), strict=True)
        ]
        await agent.register(Checks=checks)
        found = await agent.until_check(f"{agent.name}:orders", "passing")
        assert found["Output"] == f"gRPC check {where}/orders: success"
        assert found["Type"] == "grpc"
        await agent.until_check(f"{agent.name}:server", "passing")
        await agent.until_check(f"{agent.name}:unknown", "critical")

        await servicer.set("orders", health_pb2.HealthCheckResponse.NOT_SERVING)
        await agent.until_check(f"{agent.name}:orders", "critical")
        await servicer.set("orders", health_pb2.HealthCheckResponse.SERVING)
        await agent.until_check(f"{agent.name}:orders", "passing")
    finally:
        await server.stop(0)
    await agent.until_check(f"{agent.name}:orders", "critical")


@pytest.mark.parametrize(
    "check",
    [
        {"HTTP": "nowhere"},
        {"TCP": "nowhere"},
        {"GRPC": "nowhere"},
        {"TCP": "127.0.0.1:1"},
        {"TCP": "127.0.0.1:99999"},
        {"GRPC": "127.0.0.1:1"},
    ],
)
async def test_check_that_reaches_nothing_is_critical(agent: AgentClient, check: dict[str, str]) -> None:
    await agent.register(Check=check | {"Interval": "1s", "Timeout": "500ms", "Status": "passing"})
    found = await agent.until_check(f"service:{agent.name}", "critical")
    assert found["Output"]


async def test_several_checks_are_numbered_and_all_count(agent: AgentClient) -> None:
    first, second = f"service:{agent.name}:1", f"service:{agent.name}:2"
    await agent.register(Check={"TTL": "30s"}, Checks=[{"TTL": "30s", "Name": "second", "Notes": "why"}])
    assert await agent.check_statuses() == {first: "critical", second: "critical"}
    await agent.put(f"/agent/check/pass/{first}")
    await agent.until_check(first, "passing")
    await agent.until_listed(passing="")
    await agent.put(f"/agent/check/pass/{second}")
    found = await agent.until_check(second, "passing")
    assert (found["Name"], found["Notes"]) == ("second", "why")
    await agent.until_listed(agent.name, passing="")


async def test_registering_again_keeps_the_state_of_checks(agent: AgentClient) -> None:
    check = {"CheckID": f"{agent.name}:ttl", "TTL": "30s", "Status": "critical"}
    await agent.register(Check=check)
    await agent.put(f"/agent/check/pass/{agent.name}:ttl")
    await agent.register(Port=9, Check=check)
    assert await agent.check_statuses() == {f"{agent.name}:ttl": "passing"}


async def test_checks_that_are_not_named_stay_unless_replaced(agent: AgentClient) -> None:
    def ttl(name: str) -> dict[str, str]:
        return {"CheckID": f"{agent.name}:{name}", "TTL": "30s"}

    await agent.register(Check=ttl("one"))
    await agent.register(Check=ttl("two"))
    assert sorted(await agent.check_statuses()) == [f"{agent.name}:one", f"{agent.name}:two"]
    await agent.register("?replace-existing-checks=false", Check=ttl("two"))
    assert sorted(await agent.check_statuses()) == [f"{agent.name}:one", f"{agent.name}:two"]
    for query in ("?replace-existing-checks", "?replace-existing-checks=true"):
        await agent.register(Check=ttl("one"))
        await agent.register(query, Check=ttl("two"))
        assert sorted(await agent.check_statuses()) == [f"{agent.name}:two"]
    await agent.register("?replace-existing-checks")
    assert await agent.check_statuses() == {}


async def test_check_id_that_is_used_twice_moves(agent: AgentClient) -> None:
    check = {"CheckID": f"{agent.name}:shared", "TTL": "30s"}
    one, two = f"{agent.name}-1", f"{agent.name}-2"
    await agent.register(ID=one, Check=check)
    await agent.register(ID=two, Check=check)
    assert (await agent.get("/agent/checks")).body[f"{agent.name}:shared"]["ServiceID"] == two
    await agent.until_listed(one, passing="")


async def test_checks_go_with_their_service(agent: AgentClient) -> None:
    await agent.register(Check={"TTL": "30s"})
    await agent.until_check(f"service:{agent.name}", "critical")
    await agent.deregister()
    assert await agent.check_statuses() == {}
    await agent.until(f"/health/checks/{agent.name}", lambda checks: checks == [])


async def test_check_of_a_service_comes_and_goes_alone(agent: AgentClient) -> None:
    await agent.register()
    await agent.until_listed(agent.name, passing="")
    body = {"ID": f"{agent.name}:extra", "Name": "extra", "ServiceID": agent.name, "TTL": "30s"}
    assert (await agent.put("/agent/check/register", body)).status == 200
    await agent.until_listed(passing="")
    assert (await agent.put(f"/agent/check/deregister/{agent.name}:extra")).status == 200
    await agent.until_listed(agent.name, passing="")


async def test_check_of_the_node_counts_for_every_service(agent: AgentClient) -> None:
    await agent.register()
    listed = await agent.until_listed(agent.name, passing="")
    waiting = asyncio.create_task(agent.health(index=str(listed.index), wait="20s", passing=""))
    check = f"{agent.name}-node"
    try:
        await agent.put("/agent/check/register", {"Name": check, "TTL": "30s"})
        assert (await waiting).body == []
        assert (await agent.put(f"/agent/check/pass/{check}")).status == 200
        await agent.until_listed(agent.name, passing="")
    finally:
        await agent.put(f"/agent/check/deregister/{check}")
    # The catalogue follows the agent a moment later, and the next test must not see that.
    await agent.until("/health/state/any", lambda checks: check not in [found["CheckID"] for found in checks])


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"TTL": "3s"}, 400, "Missing check name"),
        ({"Name": "x"}, 400, "TTL must be > 0"),
        ({"Name": "x", "CheckID": "x", "TTL": "3s"}, 400, "CheckID"),
        ({"Name": "x", "TTL": "3s", "Status": "fine"}, 400, "Bad check status"),
        ({"Name": "x", "ServiceID": "nobody-has-this", "TTL": "3s"}, 500, "nobody-has-this"),
    ],
)
async def test_check_that_cannot_be_is_refused(agent: AgentClient, body: object, status: int, reason: str) -> None:
    answer = await agent.put("/agent/check/register", body)
    assert answer.status in ((500, 404) if status == 500 else (status,))
    assert reason in answer.text


async def test_checks_of_the_agent_are_filtered(agent: AgentClient) -> None:
    await agent.register(
        Checks=[{"CheckID": f"{agent.name}:{s}", "TTL": "30s", "Status": s} for s in ("passing", "warning")]
    )
    found = await agent.get("/agent/checks", filter=f'ServiceID == "{agent.name}" and Status == "warning"')
    assert list(found.body) == [f"{agent.name}:warning"]
