"""Answers that cannot be Consul's: one kind of error, whatever they are, so that nothing of ours crashes over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from hrpc.abc import Check, Instance, Registration, Selection
from hrpc.consul.queries import Queries
from hrpc.consul.registrar import Registrar
from hrpc.consul.transport import Transport
from hrpc.errors import ConsulPermissionDenied, ConsulRefused, ConsulUnreachable
from hrpc.option import Consul


@asynccontextmanager
async def answering(status: int, body: str, headers: dict[str, str]) -> AsyncIterator[tuple[Queries, Transport]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    consul = Consul(address=f"{host}:{port}")
    try:
        async with Transport(consul) as transport:
            yield Queries(consul, transport), transport
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "body",
    ["", "<html>", "null", "5", "[5]", "[null]", '{"a": 1}', '[{"Value": 1}]', '[{"Service": 7}]', '[{"Service": {}}]'],
)
@pytest.mark.parametrize("index", ["7", "no number", None])
async def test_a_body_or_an_index_that_is_not_consuls(body: str, index: str | None) -> None:
    async with answering(200, body, {"X-Consul-Index": index} if index else {}) as (queries, transport):
        with pytest.raises(ConsulRefused, match="not Consul's"):
            await queries.following(Selection("users"))(None, 0.0)
        registration = Registration(
            "a-1", "a", "127.0.0.1", 1, (), {}, 1, Check("http", "http://127.0.0.1:1/", 5, 3, 60)
        )
        with pytest.raises(ConsulRefused, match="not Consul's"):
            await Registrar(transport, queries.api)._confirm(registration, None)


@pytest.mark.parametrize("body", ["", "<html>", "5", "[5]", "[null, 1]", '{"a": 1}', '[{"Val": ""}]', '[{"Value": 1}]'])
async def test_a_key_that_is_not_consuls(body: str) -> None:
    async with answering(200, body, {"X-Consul-Index": "7"}) as (queries, _):
        with pytest.raises(ConsulRefused, match="not Consul's"):
            await queries.key("a")


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (403, "Permission denied", ConsulPermissionDenied, "CONFIGS_TOKEN"),
        (500, "No path to datacenter", ConsulRefused, "CONFIGS_DATACENTER"),
        (500, "No cluster leader", ConsulRefused, "answers 500 to GET /v1/health/service/users: No cluster leader"),
        (429, "", ConsulRefused, "answers 429"),
    ],
)
async def test_what_consul_refuses_is_told_with_its_words(
    status: int, body: str, error: type[Exception], says: str
) -> None:
    async with answering(status, body, {}) as (queries, _):
        with pytest.raises(error, match=says):
            await queries.following(Selection("users"))(None, 0.0)


async def test_an_answer_without_a_leader_is_refused() -> None:
    async with answering(200, "[]", {"X-Consul-Index": "7", "X-Consul-KnownLeader": "false"}) as (queries, _):
        with pytest.raises(ConsulUnreachable, match="have no leader"):
            await queries.following(Selection("users"))(None, 0.0)


async def test_an_answer_that_is_as_the_one_before_is_not_read_again() -> None:
    body = (
        '[{"Node": {"Datacenter": "dc1"}, "Service": {"ID": "a-1", "Service": "a", "Address": "10.0.0.1", "Port": 1}}]'
    )
    async with answering(200, body, {"X-Consul-Index": "7"}) as (queries, _):
        query = queries.following(Selection("a"))
        first, again = await query(None, 0.0), await query(7, 1.0)
        assert first == (7, (Instance("a-1", "a", "10.0.0.1", 1, datacenter="dc1"),))
        assert again[1] is first[1]


async def test_tags_and_the_datacenter_are_asked_for_and_any_server_may_answer() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.Response(text="[]", headers={"X-Consul-Index": "7"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    consul = Consul(address=f"127.0.0.1:{runner.addresses[0][1]}", datacenter="own")
    try:
        async with Transport(consul) as transport:
            queries = Queries(consul, transport)
            await queries.following(Selection("a", ("b", "c d"), None, ("far",)))(7, 2.5)
            await queries.instances(Selection("a", (), "1", ("far", "farther")))
            await queries.instances(Selection("a"))
    finally:
        await runner.cleanup()
    common = "/v1/health/service/a?passing=1&stale="
    assert asked == [
        f"{common}&tag=b&tag=c+d&dc=far&index=7&wait=2.5s",
        f"{common}&dc=far",
        f"{common}&dc=farther",
        f"{common}&dc=own",
    ]


@pytest.mark.parametrize("identities", [("1", '"a"'), ("null", "2")])
async def test_entries_that_cannot_be_put_in_order_are_not_consuls(identities: tuple[str, str]) -> None:
    rest = '"Service": "a", "Address": "x", "Port": 1'
    each = [f'{{"Node": {{}}, "Service": {{"ID": {identity}, {rest}}}}}' for identity in identities]
    async with answering(200, f"[{','.join(each)}]", {"X-Consul-Index": "7"}) as (queries, _):
        with pytest.raises(ConsulRefused, match="not Consul's"):
            await queries.following(Selection("a"))(None, 0.0)
