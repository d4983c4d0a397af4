"""Who may see ``/debug/…`` on the health port: this machine over its loopback address, and whoever has the token."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

import hrpc
from hrpc.errors import OptionError
from hrpc.option import fold
from tests.echo import add_echo

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def a_server(*options: hrpc.Option, host: str = "127.0.0.1") -> hrpc.Server:
    server = hrpc.new_server(
        hrpc.with_server_name("told"), hrpc.with_listen_port(0, host), hrpc.with_health_check(0), *options
    )
    add_echo(server)
    return server


async def ask(server: hrpc.Server, path: str, host: str = "127.0.0.1", **headers: str) -> tuple[int, Any]:
    url = f"http://{host}:{server.health_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def raw(server: hrpc.Server, *lines: str) -> str:
    """The answer to what no proper client sends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.health_port)
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


async def test_this_machine_sees_it_without_a_token() -> None:
    async with a_server() as server:
        assert await ask(server, "/debug/discovery") == (
            200,
            {"server": "told", "services": [], "note": "without Consul: see hrpc.with_consul"},
        )
        assert (await ask(server, "/debug/discovery", Host="localhost:6688"))[0] == 200


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Via"])
async def test_what_a_proxy_passed_on_is_refused_without_the_token(header: str) -> None:
    async with a_server(hrpc.with_debug(TOKEN)) as server:
        status, body = await ask(server, "/debug/discovery", **{header: "for=127.0.0.1"})
        assert status == 403
        assert body["error"] == (
            f"a proxy passed this on ({header}), and behind it may be anybody; send 'Authorization: Bearer <token>' "
            "with the token of hrpc.with_debug(token=…) or HRPC_DEBUG_TOKEN"
        )
        assert (await ask(server, "/debug/discovery", **{header: "for=127.0.0.1"}, **BEARER))[0] == 200


async def test_a_request_for_another_host_is_refused_without_the_token() -> None:
    async with a_server() as server:
        status, body = await ask(server, "/debug/discovery", Host="orders.example.org")
        assert status == 403
        assert body["error"].startswith("the request is for the host 'orders.example.org' and not for localhost")


@pytest.mark.parametrize(
    ("request_line", "headers", "says"),
    [
        ("GET /debug/discovery HTTP/1.0", ["Host: 127.0.0.1:6688"], "a proxy passed this on (HTTP/1.0)"),
        ("GET /debug/discovery HTTP/1.0", [], "a proxy passed this on (HTTP/1.0)"),
        ("GET http://localhost/debug/discovery HTTP/1.1", ["Host: orders.example.org"], "the request is for the host"),
    ],
)
async def test_what_a_proxy_that_hides_sends_is_refused(request_line: str, headers: list[str], says: str) -> None:
    async with a_server() as server:
        assert says in await raw(server, request_line, *headers)


async def test_a_token_that_is_no_text_is_a_wrong_one() -> None:
    async with a_server(hrpc.with_debug(TOKEN)) as server:
        answer = await raw(server, "GET /debug/discovery HTTP/1.1", "Host: localhost", "Authorization: Bearer \xff\xfe")
        assert "403" in answer.partition("\r\n")[0]
        assert "this is not the token" in answer


async def test_others_are_refused_and_told_what_to_do_whatever_they_say_of_themselves(elsewhere: str) -> None:
    async with a_server(host="0.0.0.0") as server:
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"Host": "localhost"}, BEARER):
            status, body = await ask(server, "/debug/discovery", elsewhere, **headers)
            assert status == 403
            assert body["error"] == (
                "without a token only this machine may see this, over its loopback address; to ask from elsewhere, "
                "give the service a token: hrpc.with_debug(token=…) or HRPC_DEBUG_TOKEN"
            )


async def test_the_token_lets_others_in_and_a_wrong_one_does_not_even_let_this_machine(elsewhere: str) -> None:
    async with a_server(hrpc.with_debug(TOKEN), host="0.0.0.0") as server:
        assert (await ask(server, "/debug/discovery", elsewhere, **BEARER))[0] == 200
        for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer Ä"):
            status, body = await ask(server, "/debug/discovery", Authorization=wrong)
            assert status == 403
            assert body["error"].startswith("this is not the token; send ")


async def test_without_loopback_everybody_needs_the_token() -> None:
    async with a_server(hrpc.with_debug(TOKEN, loopback=False)) as server:
        assert (await ask(server, "/debug/discovery"))[0] == 403
        assert (await ask(server, "/debug/discovery", **BEARER))[0] == 200


async def test_the_probes_ask_nobody_who_they_are() -> None:
    async with a_server(hrpc.with_debug(loopback=False)) as server:
        url = f"http://127.0.0.1:{server.health_port}/"
        headers = {"X-Forwarded-For": "10.0.0.1", "Host": "orders"}
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
            assert response.status == 200


def test_the_token_of_the_environment_wins_and_neither_is_shown() -> None:
    option = hrpc.with_debug("1111111111111111", loopback=False)
    settings = fold([hrpc.with_server_name("told"), option], {"HRPC_DEBUG_TOKEN": TOKEN})
    assert settings.debug == (TOKEN, False)
    assert TOKEN not in repr(settings)
    assert "1111111111111111" not in repr(option)


@pytest.mark.parametrize("token", ["", "short", "with spaces in between", "ä" * 16, 1234567890123456])
def test_a_token_that_can_be_guessed_or_not_sent_is_refused_and_not_shown(token: Any) -> None:
    with pytest.raises(OptionError, match=r"hrpc\.with_debug\(token=…\): takes at least 16 ASCII characters") as caught:
        hrpc.with_debug(token)
    assert not token or str(token) not in str(caught.value)


def test_a_token_of_the_environment_is_checked_too() -> None:
    with pytest.raises(OptionError, match="HRPC_DEBUG_TOKEN: takes at least 16"):
        fold([hrpc.with_server_name("told")], {"HRPC_DEBUG_TOKEN": "short"})
