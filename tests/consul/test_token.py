"""The ACL token: followed in its file, used at once, told to nobody."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from loguru import logger

import hrpc
from hrpc import configs, service
from hrpc.consul import token
from hrpc.consul.token import Token
from hrpc.consul.transport import Transport
from hrpc.errors import ConsulPermissionDenied, OptionError
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, consul_server
from tests.consul.scripted import Scripted, scripted
from tests.eventually import eventually

OWNER = "b1a3e7c0-6f52-4a7e-9a55-0c4f5d1e2f30"
ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": OWNER, "agent": OWNER}}}
RULES = """
service "rotated" { policy = "write" }
service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
key_prefix "development/" { policy = "read" }
"""


class Owner:
    """Asks an agent with the token that may all."""

    def __init__(self, consul: ConsulServer) -> None:
        self._address = consul.address

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self._address}/v1{path}", data, method=method)
        request.add_header("X-Consul-Token", OWNER)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def new_token(self) -> tuple[str, str]:
        """Its accessor and its secret."""
        made = self.ask("PUT", "/acl/token", {"Policies": [{"Name": "rotated"}]})
        return made["AccessorID"], made["SecretID"]

    def instances(self) -> list[Any]:
        entries: list[Any] = self.ask("GET", "/health/service/rotated?passing")
        return entries


@pytest.fixture
def told() -> list[str]:
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="DEBUG")
    yield lines
    logger.remove(number)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


@pytest.fixture
async def agent() -> AsyncIterator[Scripted]:
    async with scripted() as made:
        yield made


def following(agent: Scripted, file: Path) -> Consul:
    return Consul(address=agent.address, token_file=str(file))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "FOLLOW_INTERVAL", 0.01)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "FOLLOW_INTERVAL", 3600.0)


@pytest.mark.parametrize("content", [b"", b" \n", b"one\ntwo", b"a\x00b", b"\xff\xfe"])
def test_a_start_with_a_file_that_has_no_token_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(OptionError, match=f"the token file '{path}'"):
        Token(Consul(token_file=str(path)))


@pytest.mark.parametrize("spoiled", [None, b"", b"one\ntwo", b"\xff\xfe"])
def test_a_file_that_vanishes_or_turns_empty_keeps_the_last_token_and_says_so_once(
    file: Path, told: list[str], spoiled: bytes | None
) -> None:
    followed = Token(Consul(token_file=str(file)))
    if spoiled is None:
        file.unlink()
    else:
        file.write_bytes(spoiled)
    for _ in range(3):
        followed.refresh()
    assert followed.value == "first"
    (line,) = told
    assert line.startswith("ERROR")
    assert "the last token is kept" in line
    file.write_text("second")
    followed.refresh()
    assert followed.value == "second"
    assert "can be read again" in told[-1]


def test_no_repr_shows_a_token(file: Path) -> None:
    consul = Consul(token_file=str(file))
    for shown in (repr(Token(consul)), repr(Token(Consul(token="first"))), repr(Consul(token="first"))):
        assert "first" not in shown


async def test_another_token_is_used_by_new_requests_and_by_blocking_queries_that_run(
    agent: Scripted, file: Path, quick: None
) -> None:
    held = agent.hold("/v1/kv/a")
    async with Transport(following(agent, file)) as transport, asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(transport.current_token.follow())
        changes: list[str] = []
        transport.current_token.on_change(lambda: changes.append(transport.token.value))
        query = tasks.create_task(
            transport.request("GET", "/v1/kv/a", {"index": "7", "wait": "55s", "raw": ""}, wait=55)
        )
        await held.wait()
        agent.release("/v1/kv/a")
        file.write_text("second")
        assert (await asyncio.wait_for(query, 20)).code == 200
        first, again = agent.asked
        assert (first.headers["X-Consul-Token"], first.query) == ("first", {"index": "7", "wait": "55s", "raw": ""})
        # Another token may see something else: Consul is not asked to wait for a change of the same.
        assert (again.headers["X-Consul-Token"], again.query) == ("second", {"raw": ""})
        await transport.request("GET", "/v1/kv/b")
        assert agent.asked[-1].headers["X-Consul-Token"] == "second"
        assert changes == ["second"]
        follower.cancel()


async def test_a_request_that_is_denied_looks_for_another_token_at_once(
    agent: Scripted, file: Path, slow: None
) -> None:
    agent.deny("first")
    async with Transport(following(agent, file)) as transport:
        with pytest.raises(ConsulPermissionDenied, match="has expired or was deleted: write a new one there"):
            await transport.request("GET", "/v1/kv/a")
        file.write_text("second")
        assert (await transport.request("PUT", "/v1/kv/a", data="x")).code == 200
        assert transport.denied == 2


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The token of before each look into the file."""
    seen: list[str] = []
    refresh = Token.refresh

    def counted(self: Token) -> None:
        seen.append(self.value)
        refresh(self)

    monkeypatch.setattr(Token, "refresh", counted)
    return seen


async def test_many_that_are_denied_at_once_look_into_the_file_together(
    agent: Scripted, file: Path, slow: None, looks: list[str]
) -> None:
    agent.deny("first")
    async with Transport(following(agent, file)) as transport:
        file.write_text("second")
        answers = await asyncio.gather(*(transport.request("GET", "/v1/kv/a") for _ in range(50)))
        assert [answer.code for answer in answers] == [200] * 50
        assert len(looks) < 25


async def test_who_is_denied_when_another_has_found_the_new_token_does_not_look_for_it(
    agent: Scripted, file: Path, slow: None, looks: list[str]
) -> None:
    agent.deny("first")
    answer, has_come, found = agent.answer, asyncio.Event(), asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        if request.path == "/v1/kv/late":
            has_come.set()
            await found.wait()
        return await answer(request)

    agent.instead = late
    async with Transport(following(agent, file)) as transport:
        asking = asyncio.create_task(transport.request("GET", "/v1/kv/late"))
        await has_come.wait()
        file.write_text("second")
        assert (await transport.request("GET", "/v1/kv/a")).code == 200
        found.set()
        assert (await asking).code == 200
    assert looks == ["first"]


async def test_a_token_that_consul_does_not_know_is_told_loudly_and_once(
    agent: Scripted, file: Path, slow: None, told: list[str]
) -> None:
    agent.deny("first")
    async with Transport(following(agent, file)) as transport:
        for _ in range(3):
            with pytest.raises(ConsulPermissionDenied):
                await transport.request("GET", "/v1/kv/a")
            await transport.request("GET", "/v1/status/leader")
        assert transport.token_refused
        assert [line.split()[0] for line in told] == ["ERROR"]
        file.write_text("second")
        await transport.request("GET", "/v1/kv/a")
        assert not transport.token_refused
        assert "known again" in told[-1]
    assert "first" not in "".join(told)
    assert "second" not in "".join(told)


async def test_old_tokens_are_left_behind_when_the_file_is_swapped_and_the_old_one_deleted(
    launch: Callable[..., ConsulServer], tmp_path: Path, slow: None, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registration, discovery and configuration live on, on the real agent; nothing is lost on the way."""
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    consul = launch(lambda: consul_server(ACL))
    owner = Owner(consul)
    await asyncio.to_thread(owner.ask, "PUT", "/acl/policy", {"Name": "rotated", "Rules": RULES})
    old, secret = await asyncio.to_thread(owner.new_token)
    path = tmp_path / "token"
    path.write_text(secret)
    await asyncio.to_thread(owner.ask, "PUT", "/kv/development/limit", b"1")
    server = hrpc.new_server(
        hrpc.with_server_name("rotated"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=consul.address, token_file=str(path))),
        hrpc.with_upstreams("rotated"),
        hrpc.with_graceful_stop(drain_delay=0),
        hrpc.with_health_check(0),
    )
    async with server:
        await service.ready("rotated")
        assert configs.get("limit") == "1"
        _, newer = await asyncio.to_thread(owner.new_token)
        path.write_text(newer)
        await asyncio.to_thread(owner.ask, "DELETE", f"/acl/token/{old}")
        # Something changes, so that the queries that Consul holds for the deleted token come to their end.
        await asyncio.to_thread(owner.ask, "PUT", "/kv/development/limit", b"2")
        endpoint = service.get("rotated").endpoint

        async def seen() -> bool:
            assert service.get("rotated").endpoint == endpoint
            return configs.get("limit") == "2"

        await eventually(seen)
        # The agent keeps an entry at its servers with the token that it came with: the new one is needed for that.
        await eventually(lambda: said(told, "registering it again"))
        (entry,) = await asyncio.to_thread(owner.instances)
        assert f"127.0.0.1:{entry['Service']['Port']}" == endpoint == server.address

    async def gone() -> bool:
        return not await asyncio.to_thread(owner.instances)

    await eventually(gone)  # which the agent can only tell its servers with a token that they know


async def said(told: list[str], words: str) -> bool:
    return any(words in line for line in told)


async def test_heartbeats_with_a_token_that_has_expired_are_a_metric_and_an_error_and_heal_with_another(
    launch: Callable[..., ConsulServer], tmp_path: Path, slow: None, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue goes on saying that it passes, so nothing else would tell."""
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")
    consul = launch(lambda: consul_server(ACL))
    owner = Owner(consul)
    await asyncio.to_thread(owner.ask, "PUT", "/acl/policy", {"Name": "rotated", "Rules": RULES})
    old, secret = await asyncio.to_thread(owner.new_token)
    path = tmp_path / "token"
    path.write_text(secret)
    server = hrpc.new_server(
        hrpc.with_server_name("rotated"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=consul.address, token_file=str(path))),
        hrpc.with_registration(check_interval=1),
        hrpc.with_health_check(kind="ttl"),
        hrpc.with_metrics(0),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    async with server:
        assert await metric(server, "hrpc_consul_token_known") == 1
        await asyncio.to_thread(owner.ask, "DELETE", f"/acl/token/{old}")

        async def refused() -> bool:
            return await metric(server, "hrpc_consul_token_known") == 0

        await eventually(refused)
        assert await metric(server, "hrpc_consul_denied_total") > 0
        assert any(line.startswith("ERROR Consul at") and "has expired or was deleted" in line for line in told)
        path.write_text((await asyncio.to_thread(owner.new_token))[1])

        async def healed() -> bool:
            return await metric(server, "hrpc_consul_token_known") == 1 and await metric(server, "hrpc_registered") == 1

        await eventually(healed)
    assert secret not in "".join(told)


async def metric(server: hrpc.Server, name: str) -> float:
    """One of the running server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.metrics_port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))


async def test_of_many_queries_only_that_of_the_registration_is_asked_again_at_once(tmp_path: Path) -> None:
    """The agent counts the connections that they leave, too, until their time is over."""
    file = tmp_path / "token"
    file.write_text("first")
    many = 51
    async with scripted() as agent, Transport(Consul(address=agent.address, token_file=str(file))) as transport:
        paths = ["/v1/agent/service/own", *(f"/v1/health/service/{number}" for number in range(many))]
        held = [agent.hold(path) for path in paths]
        asking = [asyncio.create_task(transport.request("GET", path, {"index": "8"}, wait=55.0)) for path in paths]
        for each in held:
            await asyncio.wait_for(each.wait(), 10)
        agent.release(paths[0])
        file.write_text("second")
        await transport.current_token.refresh()
        assert (await asking[0]).code == 200
        assert len(agent.asked) == many + 2
        assert agent.asked[-1].headers["X-Consul-Token"] == "second"
        for query in asking:
            query.cancel()
        await asyncio.wait(asking)
