"""With ACLs and the default policy deny: the owner's token may all, no token may nothing, a wrong token is an error."""

from __future__ import annotations

import aiohttp

from tests.contract.agent_client import AgentClient
from tests.contract.conftest import Guarded


async def _prepare(owner: AgentClient) -> None:
    await owner.register(Check={"TTL": "30s", "Status": "passing"})
    await owner.until_listed(owner.name, passing="")
    assert (await owner.put(f"/kv/{owner.name}/k", b"1")).body is True


async def test_writes_without_permission_are_denied(guarded: Guarded) -> None:
    await _prepare(guarded.owner)
    name = guarded.owner.name
    requests = [
        ("PUT", "/agent/service/register", {"Name": name}),
        ("PUT", f"/agent/service/deregister/{name}", None),
        ("PUT", f"/agent/service/maintenance/{name}?enable=true", None),
        ("PUT", "/agent/maintenance?enable=true", None),
        ("PUT", "/agent/check/register", {"Name": name, "TTL": "3s"}),
        ("PUT", f"/agent/check/deregister/service:{name}", None),
        ("PUT", f"/agent/check/pass/service:{name}", None),
        ("PUT", f"/agent/check/update/service:{name}", {"Status": "critical"}),
        ("PUT", f"/kv/{name}/k", b"2"),
        ("DELETE", f"/kv/{name}/k", None),
        ("DELETE", f"/kv/{name}?recurse", None),
    ]
    for method, path, body in requests:
        denied = await guarded.anonymous.ask(method, path, body)
        assert denied.status == 403, path
        assert denied.text.startswith("Permission denied"), path
        unknown = await guarded.stranger.ask(method, path, body)
        assert (unknown.status, unknown.text) == (403, "ACL not found"), path
    assert (await guarded.owner.get(f"/kv/{name}/k", raw="")).text == "1"
    await guarded.owner.until_listed(name, passing="")


async def test_lists_without_permission_are_empty(guarded: Guarded) -> None:
    await _prepare(guarded.owner)
    name = guarded.owner.name
    lists = [
        f"/health/service/{name}",
        f"/health/service/{name}?passing",
        f"/health/checks/{name}",
        "/health/state/any",
        f"/catalog/service/{name}",
        "/catalog/services",
        "/agent/services",
        "/agent/checks",
    ]
    for path in lists:
        empty = await guarded.anonymous.get(path)
        assert empty.status == 200, path
        assert not empty.body, path
        unknown = await guarded.stranger.get(path)
        assert (unknown.status, unknown.text) == (403, "ACL not found"), path
        assert (await guarded.owner.get(path)).body, path


async def test_keys_without_permission_are_denied_and_prefixes_not_found(guarded: Guarded) -> None:
    await _prepare(guarded.owner)
    name = guarded.owner.name
    for path in (f"/kv/{name}/k", f"/kv/{name}/k?raw", f"/kv/{name}/nothing"):
        assert (await guarded.anonymous.get(path)).status == 403
        assert (await guarded.stranger.get(path)).status == 403
    for path in (f"/kv/{name}?recurse", f"/kv/{name}?keys"):
        assert (await guarded.anonymous.get(path)).status == 404
        assert (await guarded.stranger.get(path)).status == 403


async def test_own_entry_without_permission_is_denied(guarded: Guarded) -> None:
    await _prepare(guarded.owner)
    entry = await guarded.owner.get(f"/agent/service/{guarded.owner.name}")
    assert entry.status == 200
    for client in (guarded.anonymous, guarded.stranger):
        assert (await client.get(f"/agent/service/{client.name}")).status == 403
        assert (await client.get(f"/agent/service/{client.name}", hash=entry.hash, wait="100ms")).status == 403
        assert (await client.get("/agent/self")).status == 403
    assert (await guarded.anonymous.get("/agent/service/nobody-has-this")).status == 404


async def test_body_is_checked_before_the_token(guarded: Guarded) -> None:
    assert (await guarded.anonymous.put("/agent/service/register", {})).status == 400
    assert (await guarded.stranger.put("/agent/service/register", b"nonsense")).status == 400


async def test_what_is_not_there_is_an_error_with_acls(guarded: Guarded) -> None:
    for path in ("/agent/service/deregister/nobody-has-this", "/agent/check/pass/nobody-has-this"):
        # Consul 1.8 says 500, later ones 404.
        assert (await guarded.owner.put(path)).status in (500, 404)
        assert (await guarded.stranger.put(path)).status == 403


async def test_status_needs_no_token(guarded: Guarded) -> None:
    for client in (guarded.anonymous, guarded.stranger):
        assert (await client.get("/status/leader")).status == 200
        assert (await client.get("/status/peers")).status == 200


async def test_token_is_taken_from_three_places(guarded: Guarded) -> None:
    await _prepare(guarded.owner)
    token = guarded.owner.token
    url = f"http://{guarded.owner.address}/v1/kv/{guarded.owner.name}/k"
    async with aiohttp.ClientSession() as session:

        async def status(query: str = "", **headers: str) -> int:
            async with session.get(url + query, headers=headers) as answer:
                return answer.status

        assert await status(**{"X-Consul-Token": token}) == 200
        assert await status(Authorization=f"Bearer {token}") == 200
        assert await status(f"?token={token}") == 200
        assert await status("?token=wrong", **{"X-Consul-Token": token}) == 403


async def test_a_token_is_told_what_it_is_and_others_are_not_known(guarded: Guarded) -> None:
    found = await guarded.owner.get("/acl/token/self")
    assert (found.status, [policy["Name"] for policy in found.body["Policies"]]) == (200, ["global-management"])
    for client in (guarded.anonymous, guarded.stranger):
        assert (await client.get("/acl/token/self")).status == 403


async def test_without_acls_no_token_is_known(agent: AgentClient) -> None:
    answer = await agent.get("/acl/token/self")
    assert (answer.status, answer.text) == (401, "ACL support disabled")


async def test_nodes_without_permission_are_an_empty_list(guarded: Guarded) -> None:
    assert len((await guarded.owner.get("/catalog/nodes")).body) == 1
    assert (await guarded.anonymous.get("/catalog/nodes")).body == []
    assert (await guarded.stranger.get("/catalog/nodes")).status == 403


async def test_a_write_on_the_condition_of_an_index_that_no_key_has_only_asks_for_the_permission(
    guarded: Guarded,
) -> None:
    path = f"/kv/{guarded.owner.name}/nothing?cas={2**64 - 1}"
    answer = await guarded.owner.put(path, b"1")
    assert (answer.status, answer.body) == (200, False)
    assert (await guarded.anonymous.put(path, b"1")).status == 403
    assert (await guarded.owner.get(f"/kv/{guarded.owner.name}/nothing")).status == 404
