"""Messages as JSON: they go there and back as protobuf's JSON, and what does not fit is named."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from tester_service import Shop, Started, posted

import hrpc

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
