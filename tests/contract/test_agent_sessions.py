"""Sessions, keys that they lock, and operations that are done together or not at all."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.agent_client import AgentClient, Answer
from tests.contract.conftest import Guarded

NOBODY = "00000000-0000-0000-0000-000000000000"


class Locks:
    """Sessions of one agent, which end with the test, and one key of its own."""

    def __init__(self, agent: AgentClient) -> None:
        self.agent = agent
        self.key = f"{agent.name}/lock"
        self.made: list[str] = []

    async def session(self, **fields: object) -> str:
        answer = await self.agent.put("/session/create", {"TTL": "10s", "Checks": [], **fields})
        assert answer.status == 200, answer.text
        self.made.append(answer.body["ID"])
        return self.made[-1]

    async def entry(self) -> dict[str, Any]:
        [entry] = (await self.agent.get(f"/kv/{self.key}")).body
        return {**entry, "Value": base64.b64decode(entry["Value"] or "")}

    async def acquire(self, session: str, value: bytes = b"v") -> Answer:
        return await self.agent.put(f"/kv/{self.key}", value, acquire=session)

    async def release(self, session: str, value: bytes = b"v") -> Answer:
        return await self.agent.put(f"/kv/{self.key}", value, release=session)

    async def together(self, *operations: tuple[str, dict[str, Any]]) -> tuple[int, Any]:
        """The status, and the number of the operation that failed, if any."""
        body = [
            {"KV": {"Verb": verb, "Key": self.key, "Value": base64.b64encode(b"t").decode(), **fields}}
            for verb, fields in operations
        ]
        answer = await self.agent.put("/txn", body)
        errors = json.loads(answer.text)["Errors"]
        return answer.status, errors and (errors[0]["OpIndex"], errors[0]["What"])


@pytest.fixture
async def locks(agent: AgentClient) -> AsyncIterator[Locks]:
    found = Locks(agent)
    yield found
    for session in found.made:
        await agent.put(f"/session/destroy/{session}")


async def test_a_session_is_listed_until_it_is_destroyed(locks: Locks) -> None:
    agent = locks.agent
    session = await locks.session(Name="mine", LockDelay="12s", Behavior="delete")
    [info] = (await agent.get(f"/session/info/{session}")).body
    told = {key: info[key] for key in ("ID", "Name", "TTL", "LockDelay", "Behavior", "NodeChecks", "ServiceChecks")}
    assert told == {
        "ID": session,
        "Name": "mine",
        "TTL": "10s",
        "LockDelay": 12_000_000_000,
        "Behavior": "delete",
        "NodeChecks": [],
        "ServiceChecks": None,
    }
    assert info["CreateIndex"] == info["ModifyIndex"]
    assert info in (await agent.get("/session/list")).body
    renewed = await agent.put(f"/session/renew/{session}")
    assert (renewed.status, renewed.body) == (200, [info])
    for _ in range(2):
        destroyed = await agent.put(f"/session/destroy/{session}")
        assert (destroyed.status, destroyed.body) == (200, True)
    gone = await agent.put(f"/session/renew/{session}")
    assert (gone.status, gone.text) == (404, f"Session id '{session}' not found")
    assert (await agent.get(f"/session/info/{session}")).body == []
    assert (await agent.put("/session/renew/")).status == 400


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"TTL": "9s"}, "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]"),
        ({"TTL": "x"}, "Session TTL 'x' invalid: time: invalid duration \"x\""),
        ({"Behavior": "forget"}, "Invalid Behavior setting 'forget'"),
    ],
)
async def test_a_session_that_cannot_be_is_refused(agent: AgentClient, fields: dict[str, str], told: str) -> None:
    answer = await agent.put("/session/create", fields)
    assert (answer.status, answer.text) == (500, told)


async def test_one_session_has_a_key_and_can_write_it_until_it_lets_go(locks: Locks) -> None:
    mine, other = await locks.session(), await locks.session()
    assert (await locks.acquire(mine)).body is True
    assert ((await locks.entry())["Session"], (await locks.entry())["LockIndex"]) == (mine, 1)
    assert (await locks.acquire(mine, b"again")).body is True
    assert (await locks.entry())["LockIndex"] == 1
    assert (await locks.acquire(other)).body is False
    assert (await locks.release(other)).body is False
    assert (await locks.entry())["Value"] == b"again"
    await locks.agent.put(f"/kv/{locks.key}", b"by anybody")  # a lock is only for those who ask for it
    assert ((await locks.entry())["Session"], (await locks.entry())["LockIndex"]) == (mine, 0)
    assert (await locks.release(mine, b"last")).body is True
    assert "Session" not in await locks.entry()
    assert (await locks.entry())["Value"] == b"last"
    assert (await locks.acquire(other)).body is True  # at once
    nobody = await locks.acquire(NOBODY)
    assert (nobody.status, nobody.text) == (500, f'invalid session "{NOBODY}"')
    both = await locks.agent.put(f"/kv/{locks.key}", b"v", acquire=mine, cas="0")
    assert both.status == 400
    assert both.text.startswith("Conflicting flags: ")


@pytest.mark.parametrize("behavior", ["release", "delete"])
async def test_what_a_session_had_is_free_after_its_end_but_for_the_lock_delay(locks: Locks, behavior: str) -> None:
    mine, other = await locks.session(LockDelay="30s", Behavior=behavior), await locks.session()
    await locks.acquire(mine, b"kept")
    await locks.agent.put(f"/session/destroy/{mine}")
    if behavior == "release":
        assert "Session" not in await locks.entry()
        assert (await locks.entry())["Value"] == b"kept"
    else:
        assert (await locks.agent.get(f"/kv/{locks.key}")).status == 404
    assert (await locks.acquire(other)).body is False
    assert await locks.together(("lock", {"Session": other})) == (
        409,
        (0, f'failed to lock key "{locks.key}" due to lock delay'),
    )
    quick = await locks.session(LockDelay="0s")
    key = f"{locks.key}/quick"
    assert (await locks.agent.put(f"/kv/{key}", b"", acquire=quick)).body is True
    await locks.agent.put(f"/session/destroy/{quick}")
    assert (await locks.agent.put(f"/kv/{key}", b"", acquire=other)).body is True


async def test_operations_are_done_together_or_not_at_all(locks: Locks) -> None:
    mine, other = await locks.session(), await locks.session()
    key = locks.key
    assert await locks.together(("check-not-exists", {}), ("lock", {"Session": mine})) == (200, None)
    assert (await locks.entry())["Session"] == mine
    assert await locks.together(("check-not-exists", {})) == (409, (0, f'key "{key}" exists'))
    assert await locks.together(("check-session", {"Session": mine}), ("lock", {"Session": mine})) == (200, None)
    refused = await locks.together(("set", {"Value": ""}), ("lock", {"Session": other}))
    assert refused == (409, (1, f'failed to lock key "{key}", lock is already held'))
    assert (await locks.entry())["Value"] == b"t"  # as before
    index = (await locks.entry())["ModifyIndex"]
    refused = await locks.together(("check-index", {"Index": 1}))
    assert refused == (409, (0, f'failed index check for key "{key}", current modify index {index} != 1'))
    assert await locks.together(("check-index", {"Index": index})) == (200, None)
    refused = await locks.together(("check-session", {"Session": other}))
    assert refused == (409, (0, f'failed session check for key "{key}", current session "{mine}" != "{other}"'))
    refused = await locks.together(("unlock", {"Session": other}))
    told = f'failed to unlock key "{key}", lock isn\'t held, or is held by another session'
    assert refused == (409, (0, told))
    assert await locks.together(("unlock", {"Session": mine})) == (200, None)
    assert "Session" not in await locks.entry()
    refused = await locks.together(("lock", {"Session": NOBODY}))
    assert refused == (409, (0, f'invalid session "{NOBODY}"'))
    assert await locks.together(("no-such", {})) == (409, (0, 'unknown KV verb "no-such"'))


async def test_sessions_and_operations_need_a_token(guarded: Guarded) -> None:
    for client in (guarded.anonymous, guarded.stranger):
        assert (await client.put("/session/create", {"TTL": "10s"})).status == 403
    assert (await guarded.stranger.put("/session/create")).text == "ACL not found"
    made = await guarded.owner.put("/session/create", {"TTL": "10s"})
    assert made.status == 200
    assert (await guarded.anonymous.put(f"/session/renew/{made.body['ID']}")).status == 403
    await guarded.owner.put(f"/session/destroy/{made.body['ID']}")
