"""Who may ask: what pages of others in a browser send is refused, whatever they try."""

from __future__ import annotations

import pytest
from tester_service import PATH, Started

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example", **JSON},
        {"Host": "evil.example:8080", **JSON},
        {"Host": "localhost.evil.example", **JSON},
        {"Host": "127.0.0.1.evil.example", **JSON},
        {"Origin": "https://evil.example", **JSON},
        {"Origin": "null", **JSON},
        {"Origin": "http://127.0.0.1:1", **JSON},
        {"Sec-Fetch-Site": "cross-site", **JSON},
        {"Sec-Fetch-Site": "same-site", **JSON},
    ],
)
async def test_a_call_from_a_page_of_others_is_403(started: Started, headers: dict[str, str]) -> None:
    async with started() as (servicer, session):
        async with session.post(f"{PATH}/Place", data=b"{}", headers=headers) as response:
            assert response.status == 403
            assert (await response.json())["code"] == 7
        headers.pop("Content-Type")
        async with session.get("/v1/orders/7", headers=headers) as response:
            assert response.status == 403
    assert servicer.requests == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None]
)
async def test_what_a_form_can_send_is_415(started: Started, kind: str | None) -> None:
    async with started() as (servicer, session):
        headers = {} if kind is None else {"Content-Type": kind}
        skipped = ["Content-Type"]
        async with session.post(f"{PATH}/Place", data=b"{}", headers=headers, skip_auto_headers=skipped) as response:
            assert response.status == 415
        async with session.post("/v1/orders/7:cancel", headers=headers, skip_auto_headers=skipped) as response:
            assert response.status == 415
    assert servicer.requests == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "shop.localhost", "[::1]:8080", "10.1.2.3", "shop.test"])
async def test_addresses_localhost_and_names_that_were_given_are_let_in(started: Started, host: str) -> None:
    async with started(hosts=["Shop.test"]) as (_, session):
        headers = {"Host": host, "Origin": f"http://{host.lower()}", "Sec-Fetch-Site": "same-origin"}
        async with session.post(f"{PATH}/Place", json={}, headers=headers) as response:
            assert response.status == 200


async def test_the_page_may_be_linked_to_but_not_be_asked_for_by_a_name_of_others(started: Started) -> None:
    async with started() as (_, session):
        async with session.get("/", headers={"Sec-Fetch-Site": "cross-site"}) as response:
            assert response.status == 200
        async with session.get("/", headers={"Host": "evil.example"}) as response:
            assert response.status == 403
        async with session.get("/openapi.json", headers={"Host": "evil.example"}) as response:
            assert response.status == 403


async def test_no_other_page_may_read_or_preflight(started: Started) -> None:
    async with started() as (_, session):
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        async with session.options(f"{PATH}/Place", headers=headers) as response:
            assert response.status == 403
            assert not any(name.lower().startswith("access-control") for name in response.headers)


async def test_answers_are_neither_kept_nor_guessed_at(started: Started) -> None:
    async with started() as (_, session):
        for path in ("/", "/openapi.json", "/nothing"):
            async with session.get(path) as response:
                assert response.headers["Cache-Control"] == "no-store"
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_the_page_runs_nothing_but_itself(started: Started) -> None:
    async with started() as (_, session):
        async with session.get("/") as response:
            policy, text = response.headers["Content-Security-Policy"], await response.text()
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"
    assert directives["script-src"].startswith("'sha256-")
    assert "unsafe" not in policy
    assert "http:" not in text.replace("http://www", "")
    assert "https:" not in text
