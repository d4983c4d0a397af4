"""Calls by HTTP: messages, errors, metadata, deadlines and streams."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import aiohttp
import grpc
import pytest
from tester_service import PATH, Shop, Started, posted

import hrpc
from hrpc.context import METADATA_KEY
from hrpc_tester.problem import HTTP_STATUS

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ORDER = {
    "id": "7",
    "customerName": "Ada",
    "items": [{"name": "tea", "count": 2, "priceCents": "12345678901234", "size": "LARGE"}],
    "barter": {"name": "eggs"},
    "labels": {"a": 1},
    "byNumber": {"-5": {"name": "five"}},
    "weight": 0.0,
    "signature": "AQID",
    "created": "2026-01-31T12:00:00Z",
    "patience": "1.500s",
    "notes": {"deep": [1.0, None, {"x": True}]},
    "anything": None,
    "list": ["a", 2.0],
    "attachment": {"@type": "type.googleapis.com/tester.shop.v1.Number", "value": 3},
    "nickname": "ad",
    "points": "9007199254740993",
    "gift": False,
    "mask": "id,customerName",
    "sizes": ["SMALL", "LARGE"],
    "big": "18446744073709551615",
    "replaces": {"id": "6"},
    "ratio": "NaN",
}


async def test_a_message_with_fields_of_every_type_goes_there_and_back_as_protobufs_json(started: Started) -> None:
    async with started() as (servicer, session):
        status, answer, headers = await posted(session, "Place", ORDER)
    assert status == 200
    assert answer == ORDER
    assert servicer.requests[0].points.value == 9007199254740993
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "place", "reason"),
    [
        ({"items": [{"count": 1}, {"count": "many"}]}, "items[1].count", "a whole number from -2147483648"),
        ({"items": [{"cuont": 1}]}, "items[0].cuont", "did you mean count?"),
        ({"customer_nam": "x"}, "customer_nam", "did you mean customerName?"),
        ({"labels": {"a": {}}}, 'labels["a"]', "a whole number"),
        ({"byNumber": {"x": {}}}, 'byNumber["x"]', "the key takes a whole number"),
        ({"byNumber": {"1": {"name": 1}}}, 'byNumber["1"].name', "takes text, not 1"),
        ({"created": "today"}, "created", "2026-01-31T12:00:00Z"),
        ({"patience": 3}, "patience", "1.5s"),
        ({"signature": "AQIDA"}, "signature", "base64"),
        ({"items": {}}, "items", "takes a list, not {}"),
        ({"items": [3]}, "items[0]", "takes an object, not 3"),
        ({"items": [None]}, "items[0]", "not null"),
        ({"labels": []}, "labels", "takes an object, not []"),
        ({"replaces": "x"}, "replaces", "takes an object"),
        ({"replaces": {"items": [{"size": "HUGE"}]}}, "replaces.items[0].size", "SIZE_UNSPECIFIED, SMALL or LARGE"),
        ({"card": "1", "cash": True}, "cash", "only one of card, cash or barter"),
        ({"urgent": "yes"}, "urgent", "true or false"),
        ({"ratio": "fast"}, "ratio", "a number of type float"),
        ({"big": -1}, "big", "from 0 to 18446744073709551615"),
        ({"attachment": {"value": 1}}, "attachment", '"@type"'),
        ({"attachment": {"@type": "type.googleapis.com/not.There"}}, "attachment", '"@type"'),
        ({"attachment": {"@type": "type.googleapis.com/google.protobuf.Duration"}}, "attachment", '"@type"'),
        ({"points": "many"}, "points", "a whole number"),
        ({"notes": 3}, "notes", "takes an object"),
        ([], "", "takes an object, not []"),
        (3, "", "takes an object, not 3"),
    ],
)
async def test_json_that_does_not_fit_is_400_and_names_the_field(
    started: Started, body: Any, place: str, reason: str
) -> None:
    async with started() as (servicer, session):
        status, answer, _ = await posted(session, "Place", body)
    assert (status, answer["code"]) == (400, 3)
    assert reason in answer["message"]
    assert answer["message"].startswith(place)
    violations = [one for detail in answer["details"] for one in detail["fieldViolations"]]
    assert [one["field"] for one in violations] == ([place] if place else [])
    assert servicer.requests == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"id": }', "in line 1, column 8"),
        (b"\xff{}", "it is not UTF-8, from byte 0 on"),
        (b'{"id": "1", "id": "2"}', "'id' is there twice in one object"),
        (rb'{"id": "\ud800"}', "it has half a character"),
        (rb'{"\ud800": 1, "\ud800": 2}', "'\\ud800' is there twice"),
        (b'{"ratio": NaN}', 'write "NaN" in quotes'),
        (b'{"big": ' + b"9" * 5000 + b"}", "a number of thousands of digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"replaces": ' * 200 + b"{}" + b"}" * 200, "too deep"),
    ],
)
async def test_what_is_no_json_is_400_and_says_where(started: Started, body: bytes, message: str) -> None:
    async with started() as (_, session):
        status, answer, _ = await posted(session, "Place", body)
    assert status == 400
    assert message in answer["message"]


async def test_a_body_that_is_compressed_is_read_and_one_that_only_says_so_is_400(started: Started) -> None:
    async with started() as (_, session):
        headers = {"Content-Encoding": "gzip"}
        assert (await posted(session, "Place", gzip.compress(b'{"id": "7"}'), headers=headers))[:2] == (
            200,
            {"id": "7"},
        )
        status, answer, _ = await posted(session, "Place", b"nonsense", headers=headers)
        assert (status, answer["code"]) == (400, 3)
        assert "Content-Encoding: gzip" in answer["message"]
        assert (await posted(session, "Place"))[0] == 200


async def test_an_empty_body_is_an_empty_message(started: Started) -> None:
    async with started() as (_, session):
        assert (await posted(session, "Place", b""))[:2] == (200, {})


async def test_an_answer_that_cannot_be_json_is_500_and_says_why(started: Started) -> None:
    class Foreign(Shop):
        async def Place(self, request: Any, context: Any) -> Any:
            request.attachment.type_url = "type.googleapis.com/not.There"
            return request

    async with started(servicer=Foreign()) as (_, session):
        status, answer, _ = await posted(session, "Place")
    assert (status, answer["code"]) == (500, 13)
    assert "the answer cannot be written as JSON" in answer["message"]
    assert "not.There" in answer["message"]


async def test_a_body_beyond_the_limit_is_413_and_says_what_sets_it(started: Started) -> None:
    async with started(max_body=100) as (_, session):
        status, answer, _ = await posted(session, "Place", {"id": "x" * 100})
        assert status == 413
        assert "with_tester(max_body=…)" in answer["message"]
        assert (await posted(session, "Place", {"id": "x" * 50}))[0] == 200


async def test_a_message_beyond_the_limit_of_the_server_is_refused_by_the_server(started: Started) -> None:
    async with started(hrpc.with_message_limits(receive=200_000)) as (_, session):
        status, answer, _ = await posted(session, "Place", {"id": "x" * 100_000})
        assert (status, len(answer["id"])) == (200, 100_000)
        status, answer, _ = await posted(session, "Place", {"id": "x" * 300_000})
    assert (status, answer["code"]) == (429, 8)


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


async def test_a_stream_is_a_line_for_each_response(started: Started) -> None:
    async with started() as (_, session):
        async with session.post(f"{PATH}/Follow", json={"from": 1, "to": 4}) as response:
            assert (response.status, response.content_type) == (200, "application/x-ndjson")
            lines = [json.loads(line) async for line in response.content]
    assert lines == [{"result": {"value": value}} for value in (1, 2, 3)] + [{"trailers": {"late": "2"}}]


async def test_a_stream_arrives_while_it_goes_on(started: Started) -> None:
    async with started() as (servicer, session):
        async with session.post(f"{PATH}/Follow", json={"from": 1, "to": 3, "failWith": "wait"}) as response:
            assert json.loads(await response.content.readline()) == {"result": {"value": 1}}
            servicer.let_go.set()
            assert json.loads(await response.content.readline()) == {"result": {"value": 2}}


async def test_a_stream_is_events_for_those_who_accept_them(started: Started) -> None:
    async with started() as (_, session):
        headers = {"Accept": "text/event-stream"}
        async with session.post(f"{PATH}/Follow", json={"from": 1, "to": 3}, headers=headers) as response:
            assert response.content_type == "text/event-stream"
            text = await response.text()
    first, second, end, rest = text.split("\n\n")
    assert (first, second, rest) == ('data: {"value": 1}', 'data: {"value": 2}', "")
    assert end == 'event: end\ndata: {"trailers": {"late": "2"}}'


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
async def test_a_stream_that_fails_ends_with_its_status(started: Started, accept: str) -> None:
    body = {"from": 1, "to": 2, "failWith": "DATA_LOSS"}
    async with started() as (_, session):
        async with session.post(f"{PATH}/Follow", json=body, headers={"Accept": accept}) as response:
            assert response.status == 200
            last = (await response.text()).strip().rpartition("\n")[2]
    answer = json.loads(last.removeprefix("data: "))
    assert answer["error"]["code"] == grpc.StatusCode.DATA_LOSS.value[0]
    assert answer["trailers"] == {"late": "2"}


async def test_a_stream_that_fails_before_its_first_response_has_the_code_of_http(started: Started) -> None:
    async with started() as (_, session):
        status, answer, headers = await posted(session, "Follow", {"failWith": "PERMISSION_DENIED"})
    assert (status, answer["code"]) == (403, 7)
    assert headers["Grpc-Trailer-Late"] == "2"


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
