"""Requests to an agent, and what counts as a success."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from sidecar_service import SECRET, node

from hrpc_sidecar import ApiClient, SidecarApiError
from hrpc_sidecar.testing import SidecarAgent


@pytest.fixture
async def agent() -> AsyncIterator[SidecarAgent]:
    async with SidecarAgent() as running:
        yield running


async def test_each_request_has_its_body(agent: SidecarAgent) -> None:
    known = node()
    client = ApiClient(f" {agent.base_url}/ ")
    await client.register(known)
    await client.drain(known, 5)
    await client.deregister(known)
    assert [(one.path, one.body) for one in agent.received] == [
        ("/register", known.as_dict()),
        ("/drain", known.drain_request(5)),
        ("/deregister", known.deregister_request()),
    ]
    assert SECRET not in json.dumps([one.body for one in agent.received])


@pytest.mark.parametrize(
    "body", [b"", b"done", b"{", b"[]", b'"x"', b"{}", b'{"success":true,"code":0}', b'{"success":null}', b"\xff"]
)
async def test_200_is_a_success_whatever_the_body(agent: SidecarAgent, body: bytes) -> None:
    agent.fail("/register", status=200, body=body)
    client = ApiClient(agent.base_url)
    await client.register(node())


async def test_200_with_an_envelope_that_says_no_is_none(agent: SidecarAgent) -> None:
    agent.fail("/drain", status=200, code="NOT_FOUND", message="no such instance")
    client = ApiClient(agent.base_url)
    with pytest.raises(SidecarApiError) as raised:
        await client.drain(node(), 1)
    error = raised.value
    assert (error.method, error.path, error.status) == ("POST", "/drain", 200)
    assert (error.code, error.message) == ("NOT_FOUND", "no such instance")


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (502, b'{"success":false,"code":"UPSTREAM","message":"no Consul"}', "UPSTREAM", "no Consul"),
        (500, b'{"code":17,"message":null}', "17", ""),
        (404, b"404 page not found\n", "", "404 page not found"),
        (201, b"", "", ""),
        (302, b"", "", ""),
        (503, b'{"success":true}', "", ""),
        (502, b"x" * 1_000_000, "", "x" * 500),
    ],
)
async def test_every_other_status_is_an_error_with_what_the_agent_says(
    agent: SidecarAgent, status: int, body: bytes, code: str, message: str
) -> None:
    agent.fail("/register", status=status, body=body)
    client = ApiClient(agent.base_url)
    with pytest.raises(SidecarApiError, match=f"POST /register answered with HTTP status {status}") as raised:
        await client.register(node())
    assert (raised.value.status, raised.value.code, raised.value.message) == (status, code, message)
    assert len(str(raised.value)) < 500


async def test_an_agent_that_is_away_is_an_error_without_a_status(free_port: int) -> None:
    client = ApiClient(f"http://127.0.0.1:{free_port}")
    with pytest.raises(SidecarApiError, match="POST /deregister was not answered") as raised:
        await client.deregister(node())
    assert raised.value.status is None
    assert isinstance(raised.value.__cause__, OSError)


async def test_an_agent_that_does_not_answer_is_waited_for_no_longer_than_the_timeout(agent: SidecarAgent) -> None:
    agent.hang("/register")
    client = ApiClient(agent.base_url, timeout=0.05)
    async with asyncio.timeout(30):
        with pytest.raises(SidecarApiError, match=r"no answer within 0\.05 s"):
            await client.register(node())
