"""The context of a call: what comes in is what a Go service sent, whatever else comes in costs nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
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


def test_spaces_around_a_message_and_what_comes_after_it_are_read_as_json_does() -> None:
    message = '{"trace_id":"abcd"}'
    assert from_metadata([(METADATA_KEY, f" {message}\t")]).trace_id == "abcd"
    assert from_metadata([(METADATA_KEY, f"{message}{message}")]).trace_id != "abcd"


def test_what_is_written_is_what_is_read() -> None:
    sent = Context("t")
    sent.namespace, sent.deadline = "ns", time.monotonic() + 5
    wire = json.loads(sent.message("orders", 5.0))
    assert list(wire) == ["server_name", "trace_id", "request_timeout", "namespace", "client_info"]
    assert type(wire["request_timeout"]) is int
    found = from_metadata([(METADATA_KEY, sent.message("orders", 5.0))])
    assert (found.trace_id, found.server_name, found.namespace) == ("t", "orders", "ns")


def test_a_timeout_of_zero_means_none_given() -> None:
    assert from_metadata([(METADATA_KEY, '{"trace_id":"a","request_timeout":0}')]).deadline is None


def test_a_call_without_a_limit_is_sent_so_that_go_does_not_take_it_for_one_that_is_over() -> None:
    """Go's ``context.WithTimeout(ctx, 0)`` is over at once; its durations are nanoseconds of at most 63 bits."""
    message = Context("t").message("a")
    assert 100 * 365 * 86400 * 10**9 < json.loads(message)["request_timeout"] < 2**63
    assert from_metadata([(METADATA_KEY, message)]).deadline is None


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


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def sent(context: Context) -> dict[str, str]:
    return dict(context.metadata("orders"))


def test_a_traceparent_is_read_and_passed_on_with_a_span_of_our_own() -> None:
    found = from_metadata([("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "k=v")])
    assert found.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert found.parent_span_id == "b7ad6b7169203331"
    assert found.sampled is True
    assert re.fullmatch("[0-9a-f]{16}", found.span_id)
    out = sent(found)
    assert out["traceparent"] == f"00-0af7651916cd43dd8448eb211c80319c-{found.span_id}-01"
    assert (out["tracestate"], out["baggage"]) == ("a=1,b=2", "k=v")
    assert json.loads(out[METADATA_KEY])["trace_id"] == found.trace_id


def test_a_trace_id_of_the_go_framework_stays_beside_the_w3c_one() -> None:
    message = '{"trace_id":"go.17"}'
    found = from_metadata([("traceparent", PARENT[:-1] + "0"), (METADATA_KEY, message)])
    assert (found.trace_id, found.sampled) == ("go.17", False)
    out = sent(found)
    assert out["traceparent"] == f"00-0af7651916cd43dd8448eb211c80319c-{found.span_id}-00"
    assert json.loads(out[METADATA_KEY])["trace_id"] == "go.17"


def test_a_trace_id_in_another_form_has_the_same_w3c_form_everywhere() -> None:
    once, again = (from_metadata([(METADATA_KEY, '{"trace_id":"go.17"}')]) for _ in range(2))
    assert once.w3c_trace_id == again.w3c_trace_id
    assert re.fullmatch("[0-9a-f]{32}", once.w3c_trace_id)


def test_nobody_downstream_is_told_whether_to_sample_by_one_who_does_not_know() -> None:
    assert list(sent(from_metadata([(METADATA_KEY, '{"trace_id":"abcd"}')]))) == [METADATA_KEY]


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        PARENT + "-extra",
        PARENT.replace("00-", "ff-", 1),
        PARENT.upper(),
        PARENT[:-1],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        f"{PARENT},{PARENT}",
        PARENT + "\n",
        "x" * 1_000_000,
    ],
)
def test_a_traceparent_that_is_not_one_is_as_if_none_had_been_sent(traceparent: str) -> None:
    found = from_metadata([("traceparent", traceparent), ("tracestate", "a=1")])
    assert (found.sampled, found.parent_span_id, found.tracestate) == (None, "", "")
    assert found.trace_id != "0af7651916cd43dd8448eb211c80319c"


def test_a_later_version_of_traceparent_is_read_as_far_as_it_is_known() -> None:
    assert from_metadata([("traceparent", "cc" + PARENT[2:] + "-what-comes")]).sampled is True


@pytest.mark.parametrize(
    ("peer", "ip"),
    [
        ("ipv4:10.0.0.9:5000", "10.0.0.9"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:[2001:db8::7]:5000", "2001:db8::7"),
        ("ipv6:%5B::ffff:10.0.0.9%5D:5000", "10.0.0.9"),
        ("unix:/run/a.sock", ""),
        ("", ""),
    ],
)
def test_without_word_of_the_client_at_the_edge_it_is_the_direct_caller(peer: str, ip: str) -> None:
    found = from_metadata([("user-agent", "grpc-go/1")], peer)
    assert (found.client_ip, found.user_agent) == (ip, "grpc-go/1")
    message = '{"client_info":{"ip":"192.0.2.7","ua":"curl"}}'
    told = from_metadata([("user-agent", "grpc-go/1"), (METADATA_KEY, message)], peer)
    assert (told.client_ip, told.user_agent) == ("192.0.2.7", "curl")


def test_headers_that_grpc_could_not_send_on_are_not_passed_on() -> None:
    found = from_metadata([("traceparent", PARENT), ("tracestate", "a=é"), ("baggage", "k=é")])
    assert (found.tracestate, found.baggage) == ("", "")


@pytest.mark.parametrize("timeout", [1e10, 1e300, float("inf")])
def test_a_timeout_for_ever_is_a_number_that_go_can_read(timeout: float) -> None:
    assert 0 < json.loads(Context("t").message("a", timeout))["request_timeout"] < 2**63


def test_no_two_contexts_share_an_id_in_threads_or_after_a_fork() -> None:
    made: list[tuple[str, str]] = []

    def make() -> None:
        for _ in range(1000):
            found = context.new()
            made.append((found.trace_id, found.span_id))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({trace_id for trace_id, _ in made}) == len({span_id for _, span_id in made}) == 4000

    tell = 'os.write(1, f"{context.new().trace_id} ".encode())'
    code = f"import os; from hrpc import context; context.new(); os.fork(); {tell}"
    both = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(both)) == 2
