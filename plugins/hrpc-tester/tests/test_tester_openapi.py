"""The OpenAPI document, and the examples of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import tester_shop_pb2 as shop_pb2
from google.protobuf import json_format
from tester_service import PATH, Started

from hrpc_tester import examples

ORDER = "tester.shop.v1.Order"


@pytest.fixture
async def document(started: Started) -> Any:
    async with started() as (_, session):
        async with session.get("/openapi.json") as response:
            assert response.content_type == "application/json"
            return await response.json()


def parts(value: Any) -> Iterator[Any]:
    yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(one)


async def test_every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    references = {part["$ref"] for part in parts(document) if isinstance(part, dict) and "$ref" in part}
    assert len(references) > 20
    for reference in references:
        found = document
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        assert found
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"\w+", name) for name in names)


async def test_the_parameters_of_a_path_are_those_in_it(document: Any) -> None:
    for path, operations in document["paths"].items():
        in_path = re.findall(r"\{(.*?)\}", path)
        for operation in operations.values():
            names = [one["name"] for one in operation["parameters"] if one.get("in") == "path"]
            assert names == in_path, path


async def test_each_method_that_takes_one_message_is_there_by_all_its_paths(document: Any) -> None:
    paths = document["paths"]
    assert set(paths[f"{PATH}/Place"]) == {"post"}
    assert set(paths["/v1/orders"]) == {"post", "get"}
    assert set(paths["/v1/orders/{id}"]) == {"get"}
    assert set(paths["/v1/shops/{like.name}/orders/{id}"]) == {"get"}
    assert set(paths["/v1/orders/{id}:cancel"]) == {"post"}
    assert set(paths["/v1/shelves/{name_1}/books/{name_2}"]) == {"get"}
    assert set(paths["/v1/shelves/{name}:rename"]) == {"patch"}
    assert f"{PATH}/Sum" not in paths
    assert f"{PATH}/Chat" not in paths
    assert paths[f"{PATH}/Old"]["post"]["deprecated"]
    assert "/grpc.health.v1.Health/Check" in paths


async def test_bodies_parameters_and_answers_are_those_of_the_annotation(document: Any) -> None:
    paths = document["paths"]
    cancel = paths["/v1/orders/{id}:cancel"]["post"]
    assert cancel["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("tester.shop.v1.Item")
    query = {one["name"]: one["schema"] for one in cancel["parameters"] if one.get("in") == "query"}
    assert set(query) == {"sizes", "urgent", "since", "gift", "ratio"}
    assert query["sizes"]["type"] == "array"
    listed = paths["/v1/orders"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed == {"type": "array", "items": {"$ref": f"#/components/schemas/{ORDER}"}}
    follow = paths[f"{PATH}/Follow"]["post"]["responses"]["200"]["content"]
    assert set(follow) == {"application/x-ndjson", "text/event-stream"}


async def test_the_schema_of_a_message_is_that_of_its_json(document: Any) -> None:
    schemas = document["components"]["schemas"]
    order = schemas[ORDER]
    fields = order["properties"]
    assert fields["customerName"] == {"type": "string"}
    assert fields["big"]["type"] == ["string", "integer"]
    assert fields["signature"] == {"type": "string", "contentEncoding": "base64"}
    assert fields["labels"]["additionalProperties"]["format"] == "int32"
    assert fields["byNumber"]["propertyNames"] == {"pattern": "^-?[0-9]+$"}
    assert fields["old"]["deprecated"]
    assert fields["nothing"] == {"type": "null"}
    assert schemas["google.protobuf.Timestamp"] == {"type": "string", "format": "date-time"}
    assert schemas["google.protobuf.Int64Value"]["format"] == "int64"
    assert schemas["tester.shop.v1.Size"]["enum"] == ["SIZE_UNSPECIFIED", "SMALL", "LARGE"]
    (payment,) = order["allOf"]
    assert payment["description"] == "payment: at most one of card, cash, barter."
    assert {"required": ["cash"]} in payment["oneOf"]
    assert order["additionalProperties"] is False


@pytest.mark.parametrize("name", list(shop_pb2.DESCRIPTOR.message_types_by_name))
def test_the_example_of_a_message_is_one(name: str) -> None:
    kind = getattr(shop_pb2, name)
    example = examples.of(kind.DESCRIPTOR)
    json_format.ParseDict(example, kind())
    if name == "Order":
        assert set(example) == {field.json_name for field in kind.DESCRIPTOR.fields} - {
            *("cash", "barter", "replaces", "old")
        }
