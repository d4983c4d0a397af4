"""Finding services: by their checks, tags and filters, and by queries that block until something changes."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.contract.agent_client import AgentClient, ids


async def test_answer_carries_its_index_and_that_there_is_a_leader(agent: AgentClient) -> None:
    for path in ("/health/service/none", "/health/checks/none", "/health/state/any", "/catalog/service/none"):
        answer = await agent.get(path)
        assert answer.status == 200
        assert answer.index >= 1
        assert answer.headers["X-Consul-KnownLeader"] == "true"
        assert answer.headers["X-Consul-LastContact"] == "0"
        assert answer.headers["Content-Type"] == "application/json"


async def test_unknown_service_is_an_empty_list(agent: AgentClient) -> None:
    for path in (f"/health/service/{agent.name}", f"/health/checks/{agent.name}", f"/catalog/service/{agent.name}"):
        answer = await agent.get(path)
        assert (answer.status, answer.body) == (200, [])


async def test_service_without_a_name_is_refused(agent: AgentClient) -> None:
    for path in ("/health/service/", "/catalog/service/"):
        assert (await agent.get(path)).status == 400


async def test_only_passing_instances_are_listed_when_asked_for(agent: AgentClient) -> None:
    for status in ("passing", "warning", "critical"):
        await agent.register(ID=f"{agent.name}-{status}", Check={"TTL": "30s", "Status": status})
    await agent.until_listed(*(f"{agent.name}-{status}" for status in ("passing", "warning", "critical")))
    for yes in ("", "true", "1"):
        assert ids(await agent.health(passing=yes)) == [f"{agent.name}-passing"]
    for no in ("false", "0"):
        assert len(ids(await agent.health(passing=no))) == 3
    assert (await agent.health(passing="perhaps")).status == 400


async def test_instances_with_all_of_the_tags_are_listed(agent: AgentClient) -> None:
    one, two = f"{agent.name}-1", f"{agent.name}-2"
    await agent.register(ID=one, Tags=["production", "v1"])
    await agent.register(ID=two, Tags=["production", "v2"])
    await agent.until_listed(one, two)
    assert ids(await agent.health(tag="production")) == [one, two]
    assert ids(await agent.health(tag=["production", "v2"])) == [two]
    assert ids(await agent.health(tag="PRODUCTION")) == [one, two]
    assert ids(await agent.health(tag="testing")) == []
    catalog = await agent.get(f"/catalog/service/{agent.name}", tag="v1")
    assert [service["ServiceID"] for service in catalog.body] == [one]


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ('Service.Tags contains "v1"', "1"),
        ('Service.Tags not contains "v1"', "23"),
        ('"v1" in Service.Tags', "1"),
        ('"v1" not in Service.Tags', "23"),
        ("Service.Tags is empty", "3"),
        ("Service.Tags is not empty", "12"),
        ('Service.Meta.zone == "a"', "1"),
        ('Service.Meta.zone != "a"', "23"),
        ('Service.Meta["zone"] == b', "2"),
        ("zone in Service.Meta", "12"),
        ("Service.Meta is empty", "3"),
        ('Checks.Status == "warning"', "2"),
        ('Checks.Status != "passing"', "2"),
        ('not Checks.Status == "warning"', "13"),
        ("Service.Port == 81", "1"),
        ("Service.Weights.Passing == 1", "123"),
        ("Service.EnableTagOverride == false", "123"),
        ('Service.Meta.zone == "a" or Service.Meta.zone == "b"', "12"),
        ('Service.Tags contains "all" and not Service.Meta.zone == "a"', "2"),
        ('(Service.Port == 81 or Service.Port == 82) and Service.Tags contains "v2"', "2"),
        ("Service.Port == 81 or Service.Port == 82 and Service.Port == 83", "1"),
        ('Service.Address matches "^10[.]0"', "123"),
        ('Service.Address not matches "^10[.]0"', ""),
        ('Service.Address contains "0.0.1"', "123"),
        ('Node.Datacenter == "dc1"', "123"),
        ("", "123"),
    ],
)
async def test_filter_selects_instances(agent: AgentClient, expression: str, matches: str) -> None:
    shared = {"Address": "10.0.0.1"}
    checks = [{"TTL": "30s", "Status": "passing"}]
    one, two, three = (f"{agent.name}-{number}" for number in (1, 2, 3))
    await agent.register(ID=one, Port=81, Tags=["all", "v1"], Meta={"zone": "a"}, Checks=checks, **shared)
    await agent.register(
        ID=two, Port=82, Tags=["all", "v2"], Meta={"zone": "b"}, Check={"TTL": "30s", "Status": "warning"}, **shared
    )
    await agent.register(ID=three, Port=83, Checks=checks, **shared)
    await agent.until_listed(one, two, three)
    found = await agent.health(filter=expression)
    assert found.status == 200
    assert "".join(service_id[-1] for service_id in ids(found)) == matches


@pytest.mark.parametrize(
    "expression",
    [
        "Colour == red",
        "Service.Colour == red",
        "Service.Port == many",
        "Service.EnableTagOverride == perhaps",
        "Service.ID ==",
        "Service.Tags == v1",
        "Service.ID is empty",
        "Service.Port contains 8",
        "Service == x",
        '"x" in "xyz"',
        "Service.ID == a AND Service.Port == 1",
        "(Service.ID == a",
        "Service.ID == a)",
        "Service.ID like a",
        "and",
        "Service.ID matches `[`",
        "Service.Meta.a.b == c",
    ],
)
async def test_filter_that_makes_no_sense_is_refused(agent: AgentClient, expression: str) -> None:
    await agent.register()
    await agent.until_listed(agent.name)
    answer = await agent.health(filter=expression)
    # Consul 1.8 says 500, later ones 400.
    assert answer.status in (500, 400)
    assert "Failed to create boolean expression evaluator" in answer.text


async def test_query_for_another_datacenter_finds_no_path(agent: AgentClient) -> None:
    for path in ("/health/service/x", "/catalog/services", "/kv/x", "/status/leader"):
        answer = await agent.get(path, dc="mars")
        assert (answer.status, answer.text) == (500, "No path to datacenter")
        assert (await agent.get(path, dc="dc1")).text != "No path to datacenter"


async def test_query_for_nodes_that_are_not_there_is_empty(agent: AgentClient) -> None:
    await agent.register()
    await agent.until_listed(agent.name)
    assert ids(await agent.health(**{"node-meta": "rack:7"})) == []


async def test_consistency_modes_exclude_each_other(agent: AgentClient) -> None:
    assert (await agent.health(stale="")).status == 200
    assert (await agent.health(consistent="")).status == 200
    assert (await agent.health(stale="", consistent="")).status == 400


async def test_blocking_query_without_a_change_answers_after_its_wait(agent: AgentClient) -> None:
    await agent.register()
    listed = await agent.until_listed(agent.name)
    begin = time.monotonic()
    answer = await agent.health(index=str(listed.index), wait="150ms")
    assert time.monotonic() - begin >= 0.15
    assert answer.index == listed.index
    assert ids(answer) == [agent.name]


async def test_query_with_an_old_index_or_none_does_not_wait(agent: AgentClient) -> None:
    await agent.register()
    listed = await agent.until_listed(agent.name)
    for query in ({}, {"index": "0"}, {"index": str(listed.index - 1)}):
        answer = await agent.health(wait="10m", **query)
        assert answer.index == listed.index


async def test_query_with_an_index_from_the_future_waits_all_of_its_time(agent: AgentClient) -> None:
    await agent.register()
    await agent.until_listed(agent.name)
    begin = time.monotonic()
    waiting = asyncio.create_task(agent.health(index="999999999", wait="400ms"))
    await agent.register(ID=f"{agent.name}-2")
    await agent.until_listed(agent.name, f"{agent.name}-2")
    answer = await waiting
    assert time.monotonic() - begin >= 0.4
    assert answer.index < 999999999


async def test_index_that_is_no_number_is_refused(agent: AgentClient) -> None:
    for index in ("soon", "-1"):
        answer = await agent.health(index=index)
        assert (answer.status, answer.text) == (400, "Invalid index")


async def test_changes_of_others_leave_the_index_alone(agent: AgentClient) -> None:
    await agent.register()
    listed = await agent.until_listed(agent.name)
    await agent.register(Name=f"{agent.name}-other", ID=f"{agent.name}-other")
    await agent.until(f"/health/service/{agent.name}-other", bool)
    assert (await agent.health()).index == listed.index


async def test_new_instance_and_new_status_wake_who_waits(agent: AgentClient) -> None:
    one, two = f"{agent.name}-1", f"{agent.name}-2"
    empty = await agent.health(passing="")
    waiting = asyncio.create_task(agent.until_listed(one, passing=""))
    await agent.register(ID=one, Check={"TTL": "30s", "Status": "passing"})
    first = await waiting
    assert first.index > empty.index
    waiting = asyncio.create_task(agent.until_listed(one, two, passing=""))
    await agent.register(ID=two, Check={"TTL": "30s"})
    await agent.put(f"/agent/check/pass/service:{two}")
    second = await waiting
    assert second.index > first.index
    waiting = asyncio.create_task(agent.health(passing="", index=str(second.index), wait="20s"))
    await agent.put(f"/agent/check/fail/service:{one}")
    assert ids(await waiting) == [two]


async def test_list_of_services_is_followed(agent: AgentClient) -> None:
    waiting = asyncio.create_task(agent.until("/catalog/services", lambda names: agent.name in names))
    await agent.register()
    await waiting
    waiting = asyncio.create_task(agent.until("/catalog/services", lambda names: agent.name not in names))
    await agent.deregister()
    await waiting


async def test_checks_are_listed_by_state(agent: AgentClient) -> None:
    await agent.register(Check={"TTL": "30s", "Status": "warning"})
    await agent.until_check(f"service:{agent.name}", "warning")

    async def states_with_our_check() -> list[str]:
        found = []
        for state in ("any", "passing", "warning", "critical", "splendid"):
            checks = (await agent.get(f"/health/state/{state}")).body
            found += [state for check in checks if check["ServiceID"] == agent.name]
        return found

    assert await states_with_our_check() == ["any", "warning"]
    [check] = (await agent.get("/health/state/any", filter=f'ServiceID == "{agent.name}"')).body
    assert check["CheckID"] == f"service:{agent.name}"
