"""The context of a call: what comes in is what a Go service sent, whatever else comes in costs nothing."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrpc import background_context, context
from hrpc.context import METADATA_KEY, Context, from_metadata


def test_a_message_of_the_go_framework_is_read() -> None:
    text = (
        '{"server_name":"users","trace_id":"abcd","request_timeout":1000000000,"namespace":"Dev",'
        '"client_info":{"ip":"10.0.0.9","ua":"curl"}}'
    )
    found = from_metadata((("other", "x"), (METADATA_KEY, text)))
    assert (found.trace_id, found.server_name, found.namespace) == ("abcd", "users", "Dev")
    assert (found.client_ip, found.user_agent) == ("10.0.0.9", "curl")
    remaining = found.time_remaining()
    assert remaining is not None
    assert 0.9 < remaining <= 1.0


def test_what_is_written_is_what_is_read() -> None:
    sent = Context("t", "a", "ns", "1.2.3.4", "ua", time.monotonic() + 5)
    wire = json.loads(sent.message("orders"))
    assert list(wire) == ["server_name", "trace_id", "request_timeout", "namespace", "client_info"]
    assert type(wire["request_timeout"]) is int
    found = from_metadata([(METADATA_KEY, sent.message("orders"))])
    assert (found.trace_id, found.server_name, found.namespace) == ("t", "orders", "ns")


def test_a_timeout_of_zero_means_none_given() -> None:
    assert from_metadata([(METADATA_KEY, '{"trace_id":"a","request_timeout":0}')]).deadline is None
    assert json.loads(Context("t").message("a"))["request_timeout"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        "not json",
        "{" * 5000,
        "[" * 8000,
        '{"trace_id": 5, "request_timeout": "1", "client_info": [], "namespace": null}',
        '{"request_timeout": -5}',
        '{"request_timeout": NaN}',
        '{"request_timeout": 1e400}',
        '{"request_timeout": true}',
        '{"request_timeout": 99999999999999999999999}',
        '{"trace_id": "' + "x" * 1_000_000 + '"}',
        b"\xff\xfe",
        '{"trace_id": "x\\n12:00:00.000 ERROR forged"}',
        '{"trace_id": "\\ud800"}',
    ],
)
def test_a_hostile_message_is_as_if_none_had_been_sent(text: str | bytes) -> None:
    found = from_metadata([(METADATA_KEY, text)])
    assert re.fullmatch("[0-9a-f]{32}", found.trace_id)
    assert found.deadline is None
    assert (found.server_name, found.namespace, found.client_ip) == ("", "", "")


@given(st.one_of(st.text(), st.binary(), st.recursive(st.none() | st.floats(), st.lists).map(str)))
def test_no_message_raises(text: str | bytes) -> None:
    assert from_metadata([(METADATA_KEY, text)]).trace_id


def test_background_context_is_a_new_trace_for_three_seconds() -> None:
    assert context.current() is None
    with background_context() as outer:
        assert context.current() is outer
        remaining = outer.time_remaining()
        assert remaining is not None
        assert 2.9 < remaining <= 3.0
        with background_context(timeout=None) as inner:
            assert inner.trace_id != outer.trace_id
            assert inner.time_remaining() is None
        assert context.current() is outer
    assert context.current() is None
