"""The key-value store: reading, writing, check-and-set, and following keys and prefixes."""

from __future__ import annotations

import asyncio
import base64
import time

import pytest

from tests.contract.agent_client import AgentClient, Answer


def values(answer: Answer) -> dict[str, bytes]:
    return {entry["Key"]: base64.b64decode(entry["Value"] or "") for entry in answer.body}


async def test_value_is_read_as_it_was_written(agent: AgentClient) -> None:
    key = f"{agent.name}/databases/mysql"
    put = await agent.put(f"/kv/{key}", b'{"password": "\xc3\xa9\x00"}', flags="42")
    assert (put.status, put.body) == (200, True)

    answer = await agent.get(f"/kv/{key}")
    [entry] = answer.body
    assert values(answer) == {key: b'{"password": "\xc3\xa9\x00"}'}
    assert (entry["Flags"], entry["LockIndex"]) == (42, 0)
    assert entry["CreateIndex"] == entry["ModifyIndex"] == answer.index
    assert answer.headers["X-Consul-KnownLeader"] == "true"

    raw = await agent.get(f"/kv/{key}", raw="")
    assert raw.text.encode() == b'{"password": "\xc3\xa9\x00"}'
    assert raw.headers["Content-Type"].startswith("text/plain")


async def test_empty_value_is_null(agent: AgentClient) -> None:
    await agent.put(f"/kv/{agent.name}/empty")
    [entry] = (await agent.get(f"/kv/{agent.name}/empty")).body
    assert entry["Value"] is None
    raw = await agent.get(f"/kv/{agent.name}/empty", raw="")
    assert (raw.status, raw.text) == (200, "")


async def test_key_that_is_not_there_is_not_found_with_an_index(agent: AgentClient) -> None:
    for query in ({}, {"raw": ""}, {"recurse": ""}, {"keys": ""}):
        answer = await agent.get(f"/kv/{agent.name}/nothing", **query)
        assert (answer.status, answer.text) == (404, "")
        assert answer.index >= 1


async def test_keys_below_a_prefix(agent: AgentClient) -> None:
    for key in ("a", "a/b", "a/c/d", "a/c/e", "z"):
        await agent.put(f"/kv/{agent.name}/{key}", key.encode())
    below = await agent.get(f"/kv/{agent.name}/a/", recurse="")
    assert values(below) == {f"{agent.name}/a/{key}": f"a/{key}".encode() for key in ("b", "c/d", "c/e")}
    assert below.index == max(entry["ModifyIndex"] for entry in below.body)
    keys = await agent.get(f"/kv/{agent.name}/a", keys="")
    assert keys.body == [f"{agent.name}/a", *(f"{agent.name}/a/{key}" for key in ("b", "c/d", "c/e"))]
    cut = await agent.get(f"/kv/{agent.name}/a/", keys="", separator="/")
    assert cut.body == [f"{agent.name}/a/b", f"{agent.name}/a/c/"]


async def test_keys_may_hold_spaces_and_letters_of_any_language(agent: AgentClient) -> None:
    key = f"{agent.name}/größe x"
    await agent.put(f"/kv/{key}", b"1")
    assert list(values(await agent.get(f"/kv/{key}"))) == [key]


async def test_write_moves_the_index_only_when_it_changes_something(agent: AgentClient) -> None:
    path = f"/kv/{agent.name}/k"
    await agent.put(path, b"1")
    first = await agent.get(path)
    await agent.put(path, b"1")
    assert (await agent.get(path)).index == first.index
    await agent.put(path, b"2")
    second = await agent.get(path)
    assert second.index > first.index
    [entry] = second.body
    assert entry["CreateIndex"] < entry["ModifyIndex"]


async def test_check_and_set(agent: AgentClient) -> None:
    path = f"/kv/{agent.name}/k"
    assert (await agent.put(path, b"1", cas="7")).body is False
    assert (await agent.put(path, b"1", cas="0")).body is True
    assert (await agent.put(path, b"2", cas="0")).body is False
    index = (await agent.get(path)).index
    assert (await agent.put(path, b"2", cas=str(index))).body is True
    assert (await agent.put(path, b"3", cas=str(index))).body is False
    assert (await agent.ask("DELETE", path, cas=str(index))).body is False
    assert values(await agent.get(path)) == {f"{agent.name}/k": b"2"}
    index = (await agent.get(path)).index
    assert (await agent.ask("DELETE", path, cas=str(index))).body is True
    assert (await agent.get(path)).status == 404


async def test_delete_one_and_all_below(agent: AgentClient) -> None:
    for key in ("a", "a/b", "c"):
        await agent.put(f"/kv/{agent.name}/{key}", b"1")
    assert (await agent.ask("DELETE", f"/kv/{agent.name}/c")).body is True
    assert (await agent.ask("DELETE", f"/kv/{agent.name}/c")).body is True
    assert (await agent.get(f"/kv/{agent.name}", keys="")).body == [f"{agent.name}/a", f"{agent.name}/a/b"]
    assert (await agent.ask("DELETE", f"/kv/{agent.name}", recurse="")).body is True
    assert (await agent.get(f"/kv/{agent.name}", keys="")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("PUT", "/kv/", {}),
        ("DELETE", "/kv/", {}),
        ("GET", "/kv/", {}),
        ("DELETE", "/kv/contract", {"recurse": "", "cas": "3"}),
        ("GET", "/kv/contract", {"index": "soon"}),
        ("GET", "/kv/contract", {"index": "1", "wait": "soon"}),
    ],
)
async def test_request_that_makes_no_sense_is_refused(
    agent: AgentClient, method: str, path: str, query: dict[str, str]
) -> None:
    assert (await agent.ask(method, path, **query)).status == 400


async def test_number_that_is_none_is_refused(agent: AgentClient) -> None:
    for name in ("cas", "flags"):
        answer = await agent.put(f"/kv/{agent.name}/k", b"1", **{name: "many"})
        assert answer.status in (500, 400)
        assert 'parsing "many": invalid syntax' in answer.text
    assert (await agent.get(f"/kv/{agent.name}/k")).status == 404


async def test_value_has_512_kilobytes_at_most(agent: AgentClient) -> None:
    limit = 512 * 1024
    assert (await agent.put(f"/kv/{agent.name}/big", b"x" * limit)).body is True
    answer = await agent.put(f"/kv/{agent.name}/bigger", b"x" * (limit + 1))
    assert answer.status == 413
    assert f"Request body({limit + 1} bytes) too large, max size: {limit} bytes" in answer.text


async def test_change_of_a_key_wakes_who_waits(agent: AgentClient) -> None:
    path, key = f"/kv/{agent.name}/k", f"{agent.name}/k"
    await agent.put(path, b"1")
    first = await agent.get(path)
    waiting = asyncio.create_task(agent.get(path, index=str(first.index), wait="20s"))
    await agent.put(path, b"2")
    second = await waiting
    assert values(second) == {key: b"2"}
    assert second.index > first.index
    waiting = asyncio.create_task(agent.get(path, index=str(second.index), wait="20s"))
    await agent.ask("DELETE", path)
    gone = await waiting
    assert gone.status == 404
    assert gone.index > second.index


async def test_key_that_appears_wakes_who_waits(agent: AgentClient) -> None:
    path, key = f"/kv/{agent.name}/new", f"{agent.name}/new"
    missing = await agent.get(path)

    async def appears() -> Answer:
        answer = missing
        while answer.status == 404:
            answer = await agent.get(path, index=str(answer.index), wait="20s")
        return answer

    waiting = asyncio.create_task(appears())
    await agent.put(path, b"1")
    assert values(await waiting) == {key: b"1"}


async def test_change_below_a_prefix_wakes_who_waits(agent: AgentClient) -> None:
    prefix = f"/kv/{agent.name}/"
    await agent.put(f"{prefix}a", b"1")
    first = await agent.get(prefix, recurse="")
    waiting = asyncio.create_task(agent.get(prefix, recurse="", index=str(first.index), wait="20s"))
    await agent.put(f"{prefix}b/c", b"2")
    second = await waiting
    assert list(values(second).values()) == [b"1", b"2"]
    waiting = asyncio.create_task(agent.get(prefix, recurse="", index=str(second.index), wait="20s"))
    await agent.ask("DELETE", f"{prefix}b/c")
    third = await waiting
    assert list(values(third).values()) == [b"1"]
    assert third.index > second.index > first.index


async def test_changes_elsewhere_leave_the_index_alone(agent: AgentClient) -> None:
    prefix = f"/kv/{agent.name}/here/"
    await agent.put(f"{prefix}k", b"1")
    key, below = await agent.get(f"{prefix}k"), await agent.get(prefix, recurse="")
    await agent.put(f"/kv/{agent.name}/there", b"2")
    assert (await agent.get(f"{prefix}k")).index == key.index
    assert (await agent.get(prefix, recurse="")).index == below.index


async def test_blocking_query_without_a_change_answers_after_its_wait(agent: AgentClient) -> None:
    await agent.put(f"/kv/{agent.name}/k", b"1")
    first = await agent.get(f"/kv/{agent.name}/k")
    begin = time.monotonic()
    same = await agent.get(f"/kv/{agent.name}/k", index=str(first.index), wait="150ms")
    assert time.monotonic() - begin >= 0.15
    assert (same.index, values(same)) == (first.index, values(first))
