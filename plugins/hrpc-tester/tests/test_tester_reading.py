"""Any JSON and any URL either is a message, or is refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import tester_shop_pb2 as shop_pb2
from hypothesis import given
from hypothesis import strategies as st

from hrpc_tester import reading
from hrpc_tester.methods import Methods
from hrpc_tester.problem import Problem

METHODS = Methods(
    f"/tester.shop.v1.Shop/{method.name}" for method in shop_pb2.DESCRIPTOR.services_by_name["Shop"].methods
)
ORDER, GET = (descriptor.fields for descriptor in (shop_pb2.Order.DESCRIPTOR, shop_pb2.GetOrder.DESCRIPTOR))
NAMES = st.sampled_from(
    [name for field in ORDER for name in (field.name, field.json_name)] + ["name", "value", "@type"]
)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["NaN", "1", "-1", "1.5s", "2026-01-31T12:00:00Z", "SMALL", "AQID", "id,name"])
    | st.sampled_from(["type.googleapis.com/tester.shop.v1.Item", "type.googleapis.com/google.protobuf.Struct"])
)
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=4)
)


@given(st.dictionaries(NAMES, JSON, max_size=5) | JSON)
def test_any_json_is_a_message_or_refused_with_a_reason(value: Any) -> None:
    try:
        reading.by_path(METHODS.all["/tester.shop.v1.Shop/Place"], json.dumps(value).encode(), [])
    except Problem as wrong:
        assert wrong.status == 400
        assert wrong.body["message"]
        json.dumps(wrong.body, ensure_ascii=False).encode()


@given(st.binary(max_size=60))
def test_any_body_is_a_message_or_refused_with_a_reason(body: bytes) -> None:
    try:
        reading.by_path(METHODS.all["/tester.shop.v1.Shop/Place"], body, [])
    except Problem as wrong:
        assert wrong.status == 400


@given(
    st.text("/abv1:%2fF.{}*\x00é", max_size=30) | st.text("/v1:c%2", max_size=12).map("/v1/orders/".__add__),
    st.lists(
        st.tuples(
            st.sampled_from([field.name for field in GET] + ["like.name", "like.count", ".", "like."]),
            st.text(max_size=5),
        ),
        max_size=3,
    ),
)
def test_any_url_is_a_request_or_refused_with_a_reason(path: str, query: list[tuple[str, str]]) -> None:
    try:
        match = METHODS.match("GET", path)
        assert match.binding is not None
        reading.by_binding(match.method, match.binding, match.variables or {}, b"", query)
    except Problem as wrong:
        assert wrong.status in (400, 404, 405)
