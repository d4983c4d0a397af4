"""Paths of google.api.http: templates, bindings, parameters."""

from __future__ import annotations

from typing import Any

import pytest
from tester_service import Started

from hrpc_tester.templates import TemplateError, parsed


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ("/v1/orders", "/v1/orders", {}),
        ("/v1/orders", "/v1/orders/", None),
        ("/v1/orders/{id}", "/v1/orders/7", {"id": "7"}),
        ("/v1/orders/{id}", "/v1/orders/", None),
        ("/v1/orders/{id}", "/v1/orders/7/8", None),
        ("/v1/orders/{id}", "/v1/orders/a%2Fb%20c", {"id": "a/b c"}),
        ("/v1/orders/{id}", "/v1/orders/a:b", {"id": "a:b"}),
        ("/v1/orders/{id}:cancel", "/v1/orders/a:b:cancel", {"id": "a:b"}),
        ("/v1/orders/{id}:cancel", "/v1/orders/7", None),
        ("/v1:all", "/v1:all", {}),
        ("/v1/{name=shelves/*/books/*}", "/v1/shelves/1/books/2", {"name": "shelves/1/books/2"}),
        ("/v1/{name=shelves/*/books/*}", "/v1/shelves/1/books", None),
        ("/v1/{name=shelves/*}", "/v1/shelves/a%2fb%20c", {"name": "shelves/a%2fb c"}),
        ("/v1/files/{name=**}", "/v1/files/a/b/c", {"name": "a/b/c"}),
        ("/v1/files/{name=**}:read", "/v1/files/a/b:read", {"name": "a/b"}),
        ("/v1/*/{a.b}", "/v1/x/y", {"a.b": "y"}),
        ("/v1/a.b", "/v1/axb", None),
    ],
)
def test_a_template_matches_a_path_and_gives_its_variables(template: str, path: str, found: Any) -> None:
    assert parsed(template).match(path) == found


@pytest.mark.parametrize(
    "template",
    [
        *("v1", "/v1//a", "/v1/", "/v1/a:", "/v1/a b", "/v1/**/a"),
        *("/v1/{", "/v1/{a", "/v1/{a}b", "/v1/{a={b}}", "/v1/{a}/{a}", "/v1/{1}"),
    ],
)
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(TemplateError):
        parsed(template)


def test_the_template_that_says_most_comes_first() -> None:
    texts = ["/v1/{a=**}", "/v1/{a}", "/v1/{a}:go", "/v1/me", "/{a}/me"]
    ordered = sorted(texts, key=lambda text: parsed(text).precedence)
    assert ordered == ["/v1/{a}:go", "/v1/me", "/v1/{a}", "/v1/{a=**}", "/{a}/me"]


async def test_variables_and_parameters_of_a_get_fill_the_message(started: Started) -> None:
    query = [
        *(("sizes", "SMALL"), ("sizes", "2"), ("like.price_cents", "5"), ("like.name", "tea"), ("urgent", "true")),
        *(("since", "2026-01-31T12:00:00Z"), ("gift", "false"), ("ratio", "0.25")),
    ]
    async with started() as (servicer, session):
        async with session.get("/v1/orders/a%2Fb", params=query) as response:
            assert (response.status, await response.json()) == (200, {"id": "a/b"})
    (request,) = servicer.requests
    assert (request.id, list(request.sizes), request.urgent, request.ratio) == ("a/b", [1, 2], True, 0.25)
    assert (request.like.name, request.like.price_cents) == ("tea", 5)
    assert request.since.seconds == 1769860800
    assert request.HasField("gift")
    assert not request.gift.value


async def test_additional_bindings_and_verbs_of_their_own_are_there(started: Started) -> None:
    async with started() as (servicer, session):
        async with session.get("/v1/shops/corner/orders/7") as response:
            assert response.status == 200
        async with session.request("PURGE", "/v1/orders/8", headers={"Content-Type": "application/json"}) as response:
            assert (response.status, await response.json()) == (200, {})
        async with session.head("/v1/orders/9") as response:
            assert (response.status, await response.read()) == (200, b"")
    corner, purged, _ = servicer.requests
    assert (corner.like.name, corner.id, purged.id) == ("corner", "7", "8")


async def test_the_body_is_the_message_or_the_field_that_the_annotation_names(started: Started) -> None:
    async with started() as (servicer, session):
        async with session.post("/v1/orders", json={"id": "1", "items": [{"count": 2}]}) as response:
            assert response.status == 200
        async with session.post("/v1/orders/7:cancel?urgent=true", json={"name": "tea"}) as response:
            assert response.status == 200
        async with session.patch("/v1/shelves/3:rename", json={"name": "x", "title": "New"}) as response:
            assert await response.json() == {"name": "shelves/3", "title": "New"}
    placed, cancelled = servicer.requests
    assert placed.items[0].count == 2
    assert (cancelled.id, cancelled.like.name, cancelled.urgent) == ("7", "tea", True)


async def test_the_answer_is_the_field_that_the_annotation_names(started: Started) -> None:
    async with started() as (_, session):
        async with session.get("/v1/orders?id=7") as response:
            assert await response.json() == [{"id": "7"}]
        async with session.get("/v1/orders") as response:
            assert await response.json() == []


async def test_a_variable_of_several_segments_is_all_of_them(started: Started) -> None:
    async with started() as (_, session):
        async with session.get("/v1/shelves/1/books/2") as response:
            assert await response.json() == {"name": "shelves/1/books/2"}
        async with session.get("/v1/files/a/b%20c") as response:
            assert await response.json() == {"name": "a/b c"}


async def test_a_stream_is_there_by_its_path_as_well(started: Started) -> None:
    async with started() as (_, session):
        async with session.head("/v1/numbers") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET")
        async with session.get("/v1/numbers?from=1&to=2") as response:
            assert (await response.text()).splitlines()[0] == '{"result": {"value": 1}}'


@pytest.mark.parametrize(
    ("verb", "path", "body", "message"),
    [
        ("GET", "/v1/orders/7?nothing=1", None, "has no such field"),
        ("GET", "/v1/orders/7?id=8", None, "'id' is in the path already"),
        ("GET", "/v1/orders/7?urgent=yes", None, 'urgent: takes true or false, not "yes"'),
        ("GET", "/v1/orders/7?urgent=true&urgent=true", None, "is given 2 times, and takes one value"),
        ("GET", "/v1/orders/7?labels=a", None, "it is no single value"),
        ("GET", "/v1/orders/7?several.name=a", None, "has no such field"),
        ("GET", "/v1/orders/7?like=a", None, "it is no single value"),
        ("GET", "/v1/orders/7?sizes=HUGE", None, "sizes[0]: takes SIZE_UNSPECIFIED"),
        ("GET", "/v1/orders/7", {}, "takes no body"),
        ("POST", "/v1/orders?id=7", {}, "takes everything else in its body"),
        ("POST", "/v1/orders/7:cancel?like.name=x", {}, "'like.name' belongs in the body"),
        ("POST", "/v1/orders/7:cancel", {"count": "x"}, "like.count: takes a whole number"),
        ("POST", "/tester.shop.v1.Shop/Place?id=7", {}, "this path takes everything in its body"),
    ],
)
async def test_a_request_that_does_not_fit_its_binding_is_400_and_says_why(
    started: Started, verb: str, path: str, body: Any, message: str
) -> None:
    async with started() as (servicer, session):
        async with session.request(verb, path, json=body) as response:
            assert response.status == 400
            assert message in (await response.json())["message"]
    assert servicer.requests == []
