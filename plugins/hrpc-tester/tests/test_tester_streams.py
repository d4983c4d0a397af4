"""Streams of responses by HTTP: as lines or as events, each as soon as it is there."""

from __future__ import annotations

import json

import grpc
import pytest
from tester_service import PATH, Started, posted


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
