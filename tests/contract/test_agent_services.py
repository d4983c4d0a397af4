"""Registering, replacing, deregistering, and following one's own entry by its hash."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.contract.agent_client import AgentClient, ids


async def test_registered_service_is_listed_with_everything_it_said_of_itself(agent: AgentClient) -> None:
    answer = await agent.register(
        ID=f"{agent.name}-1",
        Address="10.1.2.3",
        Port=8888,
        Tags=["development", "v1"],
        Meta={"version": "1.4"},
        Weights={"Passing": 3, "Warning": 2},
    )
    assert (answer.status, answer.text) == (200, "")

    [entry] = (await agent.until_listed(f"{agent.name}-1")).body
    service = entry["Service"]
    assert service["Service"] == agent.name
    assert (service["Address"], service["Port"]) == ("10.1.2.3", 8888)
    assert service["Tags"] == ["development", "v1"]
    assert service["Meta"] == {"version": "1.4"}
    assert service["Weights"] == {"Passing": 3, "Warning": 2}
    assert service["TaggedAddresses"]["lan_ipv4"] == {"Address": "10.1.2.3", "Port": 8888}
    assert service["ModifyIndex"] >= service["CreateIndex"] > 0
    assert entry["Node"]["Datacenter"] == "dc1"
    assert [check["CheckID"] for check in entry["Checks"]] == ["serfHealth"]

    own = (await agent.get("/agent/services")).body[f"{agent.name}-1"]
    assert own["Service"] == agent.name
    assert own["Weights"] == {"Passing": 3, "Warning": 2}

    [listed] = (await agent.get(f"/catalog/service/{agent.name}")).body
    assert (listed["ServiceID"], listed["ServiceAddress"], listed["ServicePort"]) == (
        f"{agent.name}-1",
        "10.1.2.3",
        8888,
    )
    assert listed["ServiceTags"] == ["development", "v1"]
    names = (await agent.get("/catalog/services")).body
    assert sorted(names[agent.name]) == ["development", "v1"]
    assert names["consul"] == []


async def test_what_is_not_said_has_defaults(agent: AgentClient) -> None:
    await agent.register()
    service = (await agent.get(f"/agent/service/{agent.name}")).body
    assert service["ID"] == agent.name
    assert (service["Address"], service["Port"], service["Tags"]) == ("", 0, [])
    assert service["Weights"] == {"Passing": 1, "Warning": 1}
    assert "TaggedAddresses" not in service


async def test_keys_may_be_lower_case_or_snake_case(agent: AgentClient) -> None:
    agent.ids.add(agent.name)
    body = {"name": agent.name, "port": 7, "enable_tag_override": True, "check": {"ttl": "30s", "status": "passing"}}
    assert (await agent.put("/agent/service/register", body)).status == 200
    service = (await agent.get(f"/agent/service/{agent.name}")).body
    assert (service["Port"], service["EnableTagOverride"]) == (7, True)
    assert await agent.check_statuses() == {f"service:{agent.name}": "passing"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "Missing service name"),
        ({"Name": ""}, "Missing service name"),
        ({"Name": "a", "Address": "0.0.0.0"}, "Invalid service address"),
        ({"Name": "a", "Address": "::"}, "Invalid service address"),
        ({"Name": "a", "Port": "80"}, "Request decode failed"),
        ({"Name": "a", "Colour": "red"}, 'unknown field "Colour"'),
        ({"Name": "a", "Meta": {"k": 1}}, "Request decode failed"),
        ({"Name": "a", "Meta": {"a b": "v"}}, "Key contains invalid characters"),
        ({"Name": "a", "Meta": {"": "v"}}, "Key cannot be blank"),
        ({"Name": "a", "Meta": {"k" * 129: "v"}}, "Key is too long"),
        ({"Name": "a", "Meta": {"k": "v" * 513}}, "Value is too long"),
        ({"Name": "a", "Meta": {f"k{i}": "v" for i in range(65)}}, "more than 64 key/value pairs"),
        ({"Name": "a", "Weights": {"Passing": 0}}, "Passing must be greater than 0"),
        ({"Name": "a", "Weights": {"Passing": 70000}}, "between 0 and 65535"),
        ({"Name": "a", "Weights": {"Passing": 1, "Warning": -1}}, "Warning must be greater or equal than 0"),
        ({"Name": "a", "Check": {"HTTP": "http://127.0.0.1"}}, "Interval must be > 0"),
        ({"Name": "a", "Check": {"Interval": "1s"}}, "TTL must be > 0"),
        ({"Name": "a", "Check": {"TTL": "soon"}}, "invalid duration"),
        ({"Name": "a", "Check": {"HTTP": "http://127.0.0.1", "Interval": "1s", "TTL": "3s"}}, "cannot both be"),
        ({"Name": "a", "Check": {"TTL": "3s", "Status": "fine"}}, "Status for checks must"),
        ({"Name": "a", "Checks": [{"ID": "x", "TTL": "3s"}]}, 'unknown field "ID"'),
        (b"nonsense", "Request decode failed"),
        (b"", "Request decode failed: EOF"),
    ],
)
async def test_registration_that_cannot_be_is_refused(agent: AgentClient, body: object, reason: str) -> None:
    answer = await agent.put("/agent/service/register", body)
    assert answer.status == 400
    assert reason in answer.text


async def test_strange_ports_and_names_are_accepted(agent: AgentClient) -> None:
    assert (await agent.register(ID=f"{agent.name}/x", Port=99999)).status == 200
    service = (await agent.get(f"/agent/service/{agent.name}/x")).body
    assert service["Port"] == 99999


async def test_wrong_method_and_unknown_path_are_told_apart(agent: AgentClient) -> None:
    wrong = await agent.get("/agent/service/register")
    assert (wrong.status, wrong.text) == (405, "method GET not allowed")
    assert (await agent.ask("HEAD", "/status/leader")).status == 405
    assert (await agent.get("/no/such/thing")).status == 404


async def test_same_id_replaces_the_service(agent: AgentClient) -> None:
    await agent.register(Port=1, Tags=["old"])
    first = await agent.until_listed(agent.name)
    await agent.register(Port=2, Tags=["new"])
    second = await agent.until(
        f"/health/service/{agent.name}", lambda found: [e["Service"]["Port"] for e in found] == [2]
    )
    assert [entry["Service"]["Tags"] for entry in second.body] == [["new"]]
    assert second.index > first.index


async def test_same_registration_again_changes_no_index(agent: AgentClient) -> None:
    await agent.register(Port=1)
    first = await agent.until_listed(agent.name)
    await agent.register(Port=1)
    again = await agent.health(index=str(first.index), wait="200ms")
    assert again.index == first.index


async def test_service_that_takes_another_name_leaves_the_old_one(agent: AgentClient) -> None:
    await agent.register()
    await agent.until_listed(agent.name)
    await agent.register(Name=f"{agent.name}-renamed", ID=agent.name)
    await agent.until_listed()
    renamed = await agent.get(f"/health/service/{agent.name}-renamed")
    assert ids(renamed) == [agent.name]


async def test_deregistration_wakes_who_waits(agent: AgentClient) -> None:
    await agent.register()
    listed = await agent.until_listed(agent.name)
    waiting = asyncio.create_task(agent.health(index=str(listed.index), wait="20s"))
    assert (await agent.deregister()).status == 200
    answer = await waiting
    assert answer.body == []
    assert answer.index > listed.index
    assert agent.name not in (await agent.get("/agent/services")).body


async def test_deregistering_what_is_not_there_is_no_error(agent: AgentClient) -> None:
    answer = await agent.deregister("nobody-has-this")
    # Consul 1.8 says 200, later ones 404.
    assert answer.status in (200, 404)
    missing = await agent.put("/agent/service/deregister/")
    assert missing.status >= 400


async def test_unknown_service_is_not_found(agent: AgentClient) -> None:
    for query in ({}, {"hash": "0123456789abcdef", "wait": "10s"}):
        answer = await agent.get("/agent/service/nobody-has-this", **query)
        assert answer.status == 404
        assert "nobody-has-this" in answer.text


async def test_own_entry_is_followed_by_its_hash(agent: AgentClient) -> None:
    await agent.register(Port=1)
    path = f"/agent/service/{agent.name}"
    first = await agent.get(path)
    assert first.body["ContentHash"] == first.hash

    begin = time.monotonic()
    same = await agent.get(path, hash=first.hash, wait="150ms")
    assert (same.status, same.hash) == (200, first.hash)
    assert time.monotonic() - begin >= 0.15

    other = await agent.get(path, hash="0123456789abcdef", wait="20s")
    assert other.hash == first.hash

    waiting = asyncio.create_task(agent.get(path, hash=first.hash, wait="20s"))
    await agent.register(Port=2)
    changed = await waiting
    assert changed.body["Port"] == 2
    assert changed.hash != first.hash

    waiting = asyncio.create_task(agent.get(path, hash=changed.hash, wait="20s"))
    await agent.deregister()
    assert (await waiting).status == 404


async def test_wait_that_is_no_duration_is_refused(agent: AgentClient) -> None:
    await agent.register()
    entry = await agent.get(f"/agent/service/{agent.name}")
    for path, query in ((f"/agent/service/{agent.name}", {"hash": entry.hash}), ("/health/service/x", {"index": "1"})):
        answer = await agent.get(path, wait="soon", **query)
        assert (answer.status, answer.text) == (400, "Invalid wait time")


async def test_services_of_the_agent_are_filtered(agent: AgentClient) -> None:
    await agent.register(Tags=["blue"])
    await agent.register(ID=f"{agent.name}-2", Tags=["green"])
    found = await agent.get("/agent/services", filter=f'Service == "{agent.name}" and "green" in Tags')
    assert list(found.body) == [f"{agent.name}-2"]


async def test_agent_says_who_it_is(agent: AgentClient) -> None:
    own = (await agent.get("/agent/self")).body
    assert own["Config"]["Datacenter"] == "dc1"
    assert own["Config"]["NodeName"]
    assert isinstance(own["DebugConfig"]["HTTPMaxConnsPerClient"], int)
    leader = (await agent.get("/status/leader")).body
    assert leader
    assert (await agent.get("/status/peers")).body == [leader]


async def test_maintenance_takes_a_service_out_and_back(agent: AgentClient) -> None:
    await agent.register()
    await agent.until_listed(agent.name, passing="")
    path = f"/agent/service/maintenance/{agent.name}"
    assert (await agent.put(path, enable="true", reason="upgrade")).status == 200
    await agent.until_listed(passing="")
    check = await agent.until_check(f"_service_maintenance:{agent.name}", "critical")
    assert check["Notes"] == "upgrade"
    assert (await agent.put(path, enable="false")).status == 200
    await agent.until_listed(agent.name, passing="")
    assert (await agent.put(path)).status == 400
    assert (await agent.put(path, enable="perhaps")).status == 400
    assert (await agent.put("/agent/service/maintenance/nobody-has-this", enable="true")).status == 404


async def test_maintenance_stays_when_a_service_registers_again_unless_its_checks_are_replaced(
    agent: AgentClient,
) -> None:
    check = {"CheckID": f"service:{agent.name}", "TTL": "30s", "Status": "passing"}
    out = f"_service_maintenance:{agent.name}"
    await agent.register(Check=check)
    await agent.put(f"/agent/service/maintenance/{agent.name}", enable="true", reason="upgrade")
    await agent.register(Port=9, Check=check)
    assert await agent.check_statuses() == {f"service:{agent.name}": "passing", out: "critical"}
    await agent.put(f"/agent/service/maintenance/{agent.name}", enable="true", reason="another")
    assert (await agent.get("/agent/checks")).body[out]["Notes"] == "upgrade"
    await agent.register("?replace-existing-checks=true", Check=check)
    assert await agent.check_statuses() == {f"service:{agent.name}": "passing"}


async def test_tagged_addresses_that_are_given_win_over_those_that_the_agent_adds(agent: AgentClient) -> None:
    given = {"wan": {"Address": "203.0.113.7", "Port": 443}, "lan_ipv4": {"Address": "10.0.0.9", "Port": 1}}
    await agent.register(Address="10.1.2.3", Port=8888, TaggedAddresses=given)
    added = {"wan_ipv4": {"Address": "10.1.2.3", "Port": 8888}}
    assert (await agent.get(f"/agent/service/{agent.name}")).body["TaggedAddresses"] == given | added
    [entry] = (await agent.until_listed(agent.name)).body
    assert entry["Service"]["TaggedAddresses"] == given | added


async def test_maintenance_of_the_node_takes_all_services_out_and_back(agent: AgentClient) -> None:
    await agent.register()
    await agent.until_listed(agent.name, passing="")
    try:
        assert (await agent.put("/agent/maintenance", enable="true")).status == 200
        await agent.until_listed(passing="")
    finally:
        assert (await agent.put("/agent/maintenance", enable="false")).status == 200
    await agent.until_listed(agent.name, passing="")
