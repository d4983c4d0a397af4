"""Counts of calls: exact, by method and code, with an example of each bucket."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from hrpc.metrics.call_text import CallText, Spelling
from hrpc.metrics.calls import METHODS_AT_MOST, Calls
from hrpc.status import code_label

OK = grpc.StatusCode.OK


def families(calls: Calls) -> dict[str, Metric]:
    """As OpenMetrics is written and read."""
    text = b"".join(CallText(calls).pieces(Spelling(openmetrics=True))).decode()
    return {family.name: family for family in text_string_to_metric_families(text + "# EOF\n")}


def examples(calls: Calls) -> dict[str, Any]:
    """The exemplar of each bucket that has one."""
    samples = families(calls)["grpc_server_handling_seconds"].samples
    return {sample.labels["le"]: sample.exemplar for sample in samples if sample.exemplar}


def ended(calls: Calls, seconds_ago: float, trace_id: str, code: grpc.StatusCode = OK) -> float:
    counts = calls.method("/a.B/C", False, False)
    return counts.end(counts.begin() - seconds_ago, code, trace_id)


def test_the_end_of_a_call_gives_the_seconds_it_took() -> None:
    assert ended(Calls(), 60, "") == pytest.approx(60, abs=5)


def test_each_bucket_has_its_last_call_as_an_example() -> None:
    calls = Calls(buckets=(1, 100, 1000))
    began = time.time()
    ended(calls, 50, "first")
    ended(calls, 60, "second")
    ended(calls, 2000, "beyond", grpc.StatusCode.INTERNAL)
    found = examples(calls)
    assert set(found) == {"100.0", "+Inf"}
    assert found["100.0"].labels == {"trace_id": "second"}
    assert found["100.0"].value == pytest.approx(60, abs=5)
    assert began - 1 <= float(found["100.0"].timestamp) <= time.time() + 1
    assert found["+Inf"].labels == {"trace_id": "beyond"}


@pytest.mark.parametrize("trace_id", ["", "a" * 121, "a\n", "a\x00", 'a"', "a\\", "ä", "\ud800", "a b"])
def test_a_trace_id_that_an_exemplar_cannot_carry_is_left_out(trace_id: str) -> None:
    calls = Calls()
    ended(calls, 0, trace_id)
    assert not examples(calls)


@pytest.mark.parametrize("trace_id", ["a" * 120, "4bf92f3577b34da6a3ce929d0e0e4736", "a" * 64 + ".1234567890123456789"])
def test_trace_ids_of_both_frameworks_are_examples(trace_id: str) -> None:
    calls = Calls()
    ended(calls, 0, trace_id)
    assert [example.labels for example in examples(calls).values()] == [{"trace_id": trace_id}]


def test_no_example_is_kept_when_nobody_wants_one() -> None:
    calls = Calls(examples=False)
    ended(calls, 0, "a")
    assert not examples(calls)


def test_a_unary_message_is_received_with_every_call_and_sent_with_every_ok() -> None:
    calls = Calls()
    for code in (OK, OK, grpc.StatusCode.NOT_FOUND):
        ended(calls, 0, "", code)
    streams = calls.method("/a.B/Stream", True, True)
    streams.begin()
    streams.received += 5
    streams.sent += 4
    found = families(calls)
    received, sent = (found[f"grpc_server_msg_{way}"].samples for way in ("received", "sent"))
    assert {sample.labels["grpc_method"]: sample.value for sample in received} == {"C": 3, "Stream": 5}
    assert {sample.labels["grpc_method"]: sample.value for sample in sent} == {"C": 2, "Stream": 4}


def test_names_of_methods_are_escaped() -> None:
    calls = Calls()
    calls.method('/a"\\.\n/C\ud800', False, False).begin()
    (sample,) = families(calls)["grpc_server_started"].samples
    assert (sample.labels["grpc_service"], sample.labels["grpc_method"]) == ('a"\\.\n', "C?")


def test_names_are_spelt_as_the_scraper_asks() -> None:
    calls = Calls()
    calls.method("/a.B/C", False, False).begin()
    text = b"".join(CallText(calls).pieces(Spelling(openmetrics=True, escaping="dots"))).decode()
    line = 'grpc__server__started__total{grpc__method="C",grpc__service="a.B",grpc__type="unary"} 1'
    assert line in text.splitlines()


def test_codes_are_counted_apart() -> None:
    calls = Calls()
    for code in (OK, OK, grpc.StatusCode.NOT_FOUND):
        ended(calls, 0, "", code)
    assert calls.method("/a.B/C", False, False).handled == {OK: 2, grpc.StatusCode.NOT_FOUND: 1}


def test_codes_are_spelt_as_in_go() -> None:
    assert {code_label(code) for code in grpc.StatusCode} == {
        *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
        *("PermissionDenied", "Unauthenticated", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange"),
        *("Unimplemented", "Internal", "Unavailable", "DataLoss"),
    }


def test_the_number_of_methods_is_bounded() -> None:
    calls = Calls()
    for number in range(METHODS_AT_MOST + 50):
        calls.method(f"/proxy.P/{number}", False, False).begin()
    calls.method("/proxy.P/stream", True, False).begin()
    others = list(calls)[METHODS_AT_MOST:]
    assert [(other.service, other.kind, other.started) for other in others] == [
        ("other", "unary", 50),
        ("other", "client_stream", 1),
    ]
