"""The audit log: one line per call, whatever the call carries, and no call that waits for it."""

from __future__ import annotations

import functools
import inspect
import io
import json
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hrpc
from hrpc._runtime import Runtime
from hrpc.context import Context
from hrpc.errors import OptionError
from hrpc.log import sink
from hrpc.log.audit import AuditLog
from hrpc.log.audit_line import HumanFormat
from hrpc.option import AuditSettings, fold
from tests.log.recorded import CONTEXT, OK, PATH, Audited, a_context, handler


def test_a_line_has_the_fields_of_the_go_framework_and_those_of_the_call() -> None:
    audited = Audited()
    audited.add(code=grpc.StatusCode.NOT_FOUND, error="no such order")
    (line,) = audited.lines()
    for field in ("pst_time", "bj_time"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line.pop(field))
    assert line == {
        "level": "info",
        "msg": "/test.Echo/Echo NotFound",
        "category": "audit",
        "trace_id": "trace-1",
        "span_id": "00f067aa0ba902b7",
        "file_name": f"recorded.py:{inspect.getsourcelines(handler)[1]}",
        "package": "tests.log.recorded",
        "environment": "development",
        "server_name": "orders",
        "method": PATH,
        "direction": "in",
        "code": "NotFound",
        "duration_ms": 1.25,
        "error": "no such order",
        "caller": "users",
        "client_ip": "10.0.0.1",
    }


@pytest.mark.parametrize(
    ("code", "level"),
    [("OK", "info"), ("INVALID_ARGUMENT", "info"), ("UNAVAILABLE", "warning"), ("INTERNAL", "error")],
)
def test_the_level_tells_the_services_own_faults(code: str, level: str) -> None:
    audited = Audited()
    audited.add(code=grpc.StatusCode[code])
    assert [line["level"] for line in audited.lines()] == [level]


class _Servicer:
    async def Get(self, _: Any, __: Any) -> None: ...

    def __call__(self, _: Any, __: Any) -> None: ...


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def decorated(*_: Any) -> None: ...

    return decorated


@pytest.mark.parametrize(
    "behaviour",
    [_Servicer().Get, functools.partial(_Servicer.Get, _Servicer()), _decorated(_Servicer().Get), _Servicer()],
)
def test_the_line_names_the_handler_and_not_what_is_around_it(behaviour: Callable[..., Any]) -> None:
    audited = Audited(behaviour=behaviour)
    audited.add()
    function = _Servicer.__call__ if isinstance(behaviour, _Servicer) else _Servicer.Get
    (line,) = audited.lines()
    assert line["file_name"] == f"test_audit.py:{function.__code__.co_firstlineno}"
    assert line["package"] == __name__


def test_a_handler_without_source_code_has_a_line_too() -> None:
    audited = Audited(behaviour=len)
    audited.add()
    assert [(line["file_name"], line["package"]) for line in audited.lines()] == [("", "builtins")]


_HOSTILE = st.one_of(st.text(), st.text(st.sampled_from('"\\\n\r\0\ud800\udfff\u2028}{,\x1b')))


@given(_HOSTILE, _HOSTILE, _HOSTILE, _HOSTILE)
def test_whatever_a_caller_sends_gives_one_valid_line(trace: str, caller: str, ip: str, error: str) -> None:
    audited = Audited()
    audited.add(a_context(trace, caller, ip), error=error)
    (line,) = audited.lines()
    # JSON makes one character of two halves that meet.
    sent = [json.loads(json.dumps(text)) for text in (trace, caller, ip, error)]
    assert [line[field] for field in ("trace_id", "caller", "client_ip", "error")] == sent


def test_an_error_that_is_no_text_is_made_one() -> None:
    audited = Audited()
    audited.add(error=b"details")  # type: ignore[arg-type]
    assert [line["error"] for line in audited.lines()] == ["b'details'"]


def test_a_trace_id_of_8_kilobytes_and_an_endless_error_give_one_line_of_bounded_length() -> None:
    audited = Audited()
    audited.add(Context("\u20ac" * 8192), error="x" * 10_000_000)
    (line,) = audited.lines()
    assert line["trace_id"] == "\u20ac" * 256
    assert len(line["error"]) == 4096


def test_one_call_that_has_no_line_does_not_end_the_log_of_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    audited = Audited()
    audited.add(Context("t", span_id=None))  # type: ignore[arg-type]
    audited.add()
    assert len(audited.lines()) == 1
    assert audited.log.dropped == 1


@given(_HOSTILE)
def test_a_line_for_a_person_is_one_line_and_moves_no_cursor(text: str) -> None:
    audited = Audited(lines=HumanFormat())
    audited.add(a_context(text, text), grpc.StatusCode.INTERNAL, error=text)
    audited.writer.close(10)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", audited.output.text)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} ERROR   /test.Echo/Echo Internal in 1.2 ms  ", plain)
    assert plain.removesuffix("\n").isprintable()


def test_it_can_be_turned_off() -> None:
    audited = Audited()
    settings = fold((hrpc.with_server_name("a"), hrpc.with_audit_log(False)), {}).audit
    assert AuditLog(audited.writer, audited.log._lines, settings).method(PATH, handler) is None


def test_of_a_sample_every_failure_and_every_slow_call_is_kept() -> None:
    audited = Audited(AuditSettings(sample=0.0, slow=0.5))
    audited.add(seconds=0.49)
    audited.add(seconds=0.5)
    audited.add(code=grpc.StatusCode.CANCELLED)
    assert [line["msg"] for line in audited.lines()] == [f"{PATH} OK", f"{PATH} Canceled"]


def test_a_sample_is_a_share_of_the_calls() -> None:
    audited = Audited(AuditSettings(sample=0.3, slow=None))
    for _ in range(10_000):
        audited.add(seconds=100.0)
    assert 2500 < len(audited.lines()) < 3500


def test_what_comes_on_top_of_the_limit_is_dropped_and_one_line_tells_how_many() -> None:
    audited = Audited(limit=10)
    audited.writer.idle = False  # the thread does not come
    for _ in range(17):
        audited.add()
    assert (len(audited.writer.waiting), audited.log.dropped) == (10, 7)
    audited.writer.wake()
    lines = audited.lines()
    assert [line["category"] for line in lines] == ["audit"] * 10 + ["log"]
    assert (lines[-1]["level"], lines[-1]["dropped"]) == ("warning", 7)
    assert lines[-1]["msg"].startswith("7 log lines were dropped")
    assert set(lines[-1]) >= {"trace_id", "pst_time", "bj_time", "environment", "server_name"}


def test_lines_of_many_threads_are_all_there() -> None:
    audited = Audited()

    def work() -> None:
        for _ in range(2000):
            audited.add()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(audited.lines()) == 8000


async def test_leaving_the_log_waits_until_20_000_lines_are_written() -> None:
    audited = Audited()
    async with audited.log:
        for _ in range(20_000):
            audited.add()
    assert audited.output.text.count("\n") + audited.log.dropped == 20_000
    assert audited.log.dropped == 0


async def test_a_log_in_which_nothing_was_logged_is_left_without_a_thread() -> None:
    audited = Audited()
    before = threading.enumerate()
    async with audited.log:
        pass
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


async def test_lines_wait_for_as_long_as_the_system_gives_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_threads(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    audited = Audited()
    async with audited.log:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", no_more_threads)
            audited.add()
            audited.add()
        audited.add()
    assert len(audited.lines()) == 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: hrpc.with_audit_log(sample=1.5), "share from 0 to 1"),
        (lambda: hrpc.with_audit_log(sample=True), "share from 0 to 1"),
        (lambda: hrpc.with_audit_log(sample=float("nan")), "share from 0 to 1"),
        (lambda: hrpc.with_audit_log(slow=-1), "slow"),
        (lambda: hrpc.with_audit_log(0), "enabled=0"),  # type: ignore[arg-type]
        (lambda: hrpc.with_audit_log(payloads="yes"), "payloads='yes'"),  # type: ignore[arg-type]
        (lambda: hrpc.with_audit_log(payload_limit=0), "payload_limit"),
        (lambda: hrpc.with_audit_log(redact="password"), r"\['password'\]"),
        (lambda: hrpc.with_audit_log(redact=[""]), "name of a field"),
        (lambda: hrpc.with_audit_log(redact=[7]), "name of a field"),  # type: ignore[list-item]
    ],
)
def test_a_bad_option_is_refused_where_it_is_made(make: Callable[[], object], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        make()


def test_audit_lines_go_where_the_other_lines_go(capsys: pytest.CaptureFixture[str]) -> None:
    with sink.installed(Runtime("logged"), "development") as log:
        method = AuditLog(log.writer, log.calls, AuditSettings()).method(PATH, handler)
        assert method is not None
        method.add(CONTEXT, OK, 0.001, None, None, None)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["server_name"], line["category"]) == ("logged", "audit")


def test_lines_of_two_servers_and_of_a_terminal_go_where_each_belongs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(log: sink.Log) -> None:
        method = AuditLog(log.writer, log.calls, AuditSettings()).method(PATH, handler)
        assert method is not None
        method.add(CONTEXT, OK, 0.001, None, None, None)

    with sink.installed(Runtime("a"), "development") as a, sink.installed(Runtime("b"), "development") as b:
        add(a)
        add(b)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(line["server_name"] for line in lines) == ["a", "b"]
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    with sink.installed(Runtime("c"), "development") as c:
        add(c)
    assert "/test.Echo/Echo OK in 1.0 ms  trace_id=trace-1 caller=users client_ip=10.0.0.1" in terminal.getvalue()
    assert capsys.readouterr().out == ""
