"""Calls by HTTP: statuses, metadata and deadlines."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import grpc
import pytest
from tester_service import PATH, Started, posted

import hrpc
from hrpc.context import METADATA_KEY
from hrpc_tester.problem import HTTP_STATUS

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_a_status_has_the_code_of_http_that_fits(started: Started, code: grpc.StatusCode) -> None:
    async with started() as (_, session):
        status, answer, headers = await posted(session, "Fail", {"failWith": code.name})
    assert status == HTTP_STATUS[code] >= 400
    assert (answer["code"], answer["message"]) == (code.value[0], "as asked")
    assert headers["Grpc-Trailer-Late"] == "2"


async def test_the_details_of_a_status_are_there_as_json(started: Started) -> None:
    async with started() as (_, session):
        status, answer, headers = await posted(session, "Fail")
    assert status == 404
    kinds = {detail["@type"].rpartition("/")[2]: detail for detail in answer["details"]}
    assert kinds["google.rpc.ErrorInfo"]["reason"] == "NotFound"
    assert kinds["hrpc.errors.v1.CallError"]["issuer"] == "HRPC"
    assert not any("details-bin" in name.lower() for name in headers)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (f"{PATH}/Plaec", f"did you mean {PATH}/Place"),
        (f"{PATH}/place", f"did you mean {PATH}/Place"),
        ("/Shop/Place", "did you mean"),
        ("/nothing", "GET / lists what there is"),
    ],
)
async def test_an_unknown_method_is_404_with_names_that_are_near(started: Started, path: str, hint: str) -> None:
    async with started() as (_, session):
        async with session.post(path, json={}) as response:
            assert response.status == 404
            answer = await response.json()
    assert answer["code"] == 12
    assert hint in answer["message"]


async def test_another_verb_is_405_and_says_which_there_are(started: Started) -> None:
    async with started() as (_, session):
        async with session.get(f"{PATH}/Place") as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")
        async with session.put("/v1/orders/7", json={}) as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET, PURGE")


@pytest.mark.parametrize("method", ["Sum", "Chat"])
async def test_a_stream_of_requests_is_501_and_says_why(started: Started, method: str) -> None:
    async with started() as (_, session):
        status, answer, _ = await posted(session, method)
    assert (status, answer["code"]) == (501, 12)
    assert "takes a stream of messages, which one request of HTTP cannot be" in answer["message"]


async def test_a_method_without_descriptors_is_501_and_says_why(started: Started) -> None:
    import hrpc_tester
    from tests.echo import SERVICE, add_echo

    tester = hrpc_tester.Tester(0)
    server = hrpc.new_server(
        hrpc.with_server_name("echo"), hrpc.with_listen_port(0, host="127.0.0.1"), hrpc.with_plugins(tester)
    )
    add_echo(server)
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{tester.port}") as session:
        async with session.post(f"/{SERVICE}/Echo", json={}) as response:
            assert response.status == 501
            assert "its messages are not described" in (await response.json())["message"]


async def test_headers_become_metadata_and_metadata_becomes_headers(started: Started) -> None:
    sent = {
        "Grpc-Metadata-Colour": "blue",
        "grpc-metadata-raw-bin": base64.b64encode(b"\x01\xfe").decode().rstrip("="),
        "Authorization": "Bearer secret",
        "traceparent": PARENT,
        "X-Other": "stays here",
    }
    async with started() as (servicer, session):
        status, _, headers = await posted(session, "Tell", headers=sent)
    assert status == 200
    assert servicer.metadata["colour"] == "blue"
    assert servicer.metadata["raw-bin"] == b"\x01\xfe"
    assert servicer.metadata["authorization"] == "Bearer secret"
    assert "x-other" not in servicer.metadata
    assert headers["Grpc-Metadata-Early"] == "1"
    assert headers["Grpc-Metadata-Raw-Bin"] == base64.b64encode(b"\x00\xff").decode()
    assert headers.getall("Grpc-Trailer-Late") == ["2", "3"]
    assert headers["Hrpc-Trace-Id"] == TRACE
    assert servicer.context is not None
    assert (servicer.context.trace_id, servicer.context.client_ip) == (TRACE, "127.0.0.1")
    assert servicer.context.server_name == "hrpc-tester"
    assert servicer.context.user_agent.startswith("Python/")


async def test_a_message_of_the_go_framework_is_passed_on_as_it_is(started: Started) -> None:
    message = json.dumps({"server_name": "go", "trace_id": "abcd", "request_timeout": 0, "namespace": "Dev"})
    async with started() as (servicer, session):
        _, _, headers = await posted(session, "Tell", headers={METADATA_KEY: message})
    assert servicer.metadata[METADATA_KEY] == message
    assert headers["Hrpc-Trace-Id"] == "abcd"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Grpc-Metadata-Grpc-Timeout", "1S"),
        ("Grpc-Metadata-x-bin", "%"),
        ("Grpc-Metadata-Name", "né"),
        ("Grpc-Timeout", "1s"),
        ("Grpc-Timeout", "123456789S"),
        ("X-Request-Timeout", "-1"),
        ("X-Request-Timeout", "soon"),
    ],
)
async def test_a_header_that_cannot_be_used_is_400_and_named(started: Started, header: str, value: str) -> None:
    async with started() as (_, session):
        status, answer, _ = await posted(session, "Tell", headers={header: value})
    assert status == 400
    assert answer["message"].startswith(f"the header {header} ")
    assert answer["details"][0]["fieldViolations"][0]["field"] == header


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Grpc-Timeout": "2M"}, 100, 120),
        ({"X-Request-Timeout": "90.5"}, 80, 90.5),
        ({"Grpc-Timeout": "99999999H"}, 9.7e7, 9.72e7),
        ({"Grpc-Timeout": "2M", "X-Request-Timeout": "50"}, 40, 50),
    ],
)
async def test_the_call_has_the_deadline_of_the_header(
    started: Started, headers: dict[str, str], least: float, most: float
) -> None:
    async with started() as (servicer, session):
        await posted(session, "Tell", headers=headers)
    assert servicer.remaining is not None
    assert least < servicer.remaining <= most + 1.5  # grpcio rounds


async def test_a_call_beyond_its_deadline_is_504(started: Started) -> None:
    async with started() as (_, session):
        status, answer, _ = await posted(session, "Hold", headers={"Grpc-Timeout": "20m"})
    assert (status, answer["code"]) == (504, 4)


async def test_a_client_that_leaves_cancels_its_call(started: Started) -> None:
    async with started() as (servicer, session):
        asking = asyncio.create_task(posted(session, "Hold"))
        await servicer.entered.wait()
        asking.cancel()
        await servicer.cancelled.wait()
        # The same for a stream.
        servicer.entered.clear()
        servicer.cancelled.clear()
        body = {"to": 2, "failWith": "wait"}
        async with session.post(f"{PATH}/Follow", json=body) as response:
            await response.content.readline()
        await servicer.cancelled.wait()


async def test_guards_and_auth_and_the_log_see_the_call_as_any_other(started: Started) -> None:
    async def only_ada(call: Any) -> str:
        if dict(call.invocation_metadata()).get("authorization") != "Bearer ada":
            raise hrpc.errors.Unauthenticated("who are you?")
        return "ada"

    options = hrpc.with_auth(only_ada), hrpc.with_rate_limit(methods={"tester.shop.v1.Shop/Place": 1})
    async with started(*options) as (_, session):
        status, answer, headers = await posted(session, "Place")
        assert (status, answer["message"], headers["WWW-Authenticate"]) == (401, "who are you?", "Bearer")
        ada = {"Authorization": "Bearer ada"}
        codes = [(await posted(session, "Place", headers=ada))[0] for _ in range(3)]
    assert 429 in codes
