"""Log lines: JSON for machines, and the standard library's logging among them."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from loguru import logger

import hrpc
from hrpc import log
from hrpc._runtime import Runtime
from hrpc.errors import OptionError
from hrpc.log import sink
from hrpc.log.audit_line import Ended, Origin
from hrpc.log.times import Times


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Any:
    """Gives the lines that were logged."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_has_the_fields_of_the_go_framework(lines: Any) -> None:
    with sink.installed(Runtime("logged"), "development"), hrpc.background_context() as context:
        logger.bind(order=7).warning("paid {}", 3)
    (line,) = lines()
    assert (line["level"], line["msg"], line["order"]) == ("warning", "paid 3", 7)
    assert (line["category"], line["trace_id"]) == ("log", context.trace_id)
    assert (line["environment"], line["server_name"]) == ("development", "logged")
    assert re.fullmatch(r"test_log.py:\d+", line["file_name"])
    assert line["package"] == __name__
    for field in ("pst_time", "bj_time"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line[field])
    assert line["pst_time"] != line["bj_time"]


def test_the_times_of_a_line_are_in_the_zones_and_fields_that_are_named(lines: Any) -> None:
    zones = hrpc.with_log_times(pst_time="Asia/Kolkata", time=UTC).changes["log_times"]
    with sink.installed(Runtime("logged"), "development", zones=zones) as installed:  # type: ignore[arg-type]
        logger.info("paid")
        origin = Origin("/shop.Orders/Get", "orders.py:7", "orders")
        ended = Ended(1_774_747_800.0, 0.001, None, "", "", "", "")
        call = json.loads(installed.calls.line(installed.calls.head(origin, grpc.StatusCode.OK), ended))
    (line,) = lines()
    for one in (line, call):
        assert "bj_time" not in one
        there, here = (datetime.fromisoformat(one[field]) for field in ("pst_time", "time"))
        assert there - here == timedelta(hours=5, minutes=30)
    assert call["time"] == "2026-03-29 01:30:00"


def test_the_times_of_a_line_follow_daylight_saving_time() -> None:
    times = Times({"there": ZoneInfo("Europe/Berlin")})
    changes = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp())
    assert times.json(changes - 1) == '"there":"2026-03-29 01:59:59"'
    assert times.json(changes) == '"there":"2026-03-29 03:00:00"'


@pytest.mark.parametrize(
    ("zones", "told"),
    [
        ({}, "give at least one time"),
        ({"time": "Europe/Berln"}, "no time zone 'Europe/Berln' in the IANA database; did you mean 'Europe/Berlin'?"),
        ({"time": "America"}, "no time zone 'America'"),
        ({"time": "../etc/passwd"}, r"no time zone '../etc/passwd'"),
        ({"time": ""}, "it takes names such as"),
        ({"time": 8}, "takes the name of a time zone, or a tzinfo, not 8"),
        ({"level": "UTC"}, "a log line has fields level already"),
    ],
)
def test_a_time_that_no_line_can_have_is_refused(zones: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        hrpc.with_log_times(**zones)


def test_the_standard_librarys_logging_comes_out_the_same_way_and_only_meanwhile(lines: Any) -> None:
    handlers = list(logging.getLogger().handlers)
    with sink.installed(Runtime("logged"), "development"):
        logging.getLogger("some.library").warning("slow %s", "query {}")
    (line,) = lines()
    assert (line["level"], line["msg"], line["package"]) == ("warning", "slow query {}", __name__)
    assert re.fullmatch(r"test_log.py:\d+", line["file_name"])
    assert logging.getLogger().handlers == handlers


def test_a_stack_is_one_field_and_holds_no_values_of_variables(lines: Any) -> None:
    with sink.installed(Runtime("logged"), "development"):
        try:
            password = "s3cret"
            raise ValueError(len(password))
        except ValueError as error:
            logger.opt(exception=error).error("failed")
    (line,) = lines()
    assert line["detail"].startswith("Traceback (most recent call last):")
    assert line["detail"].endswith("ValueError: 6")


def test_after_several_servers_a_line_is_still_printed_once(lines: Any) -> None:
    for _ in range(3):
        with sink.installed(Runtime("logged"), "development"):
            logger.info("once")
        assert [line["msg"] for line in lines()] == ["once"]


def test_a_person_at_a_terminal_gets_readable_lines(monkeypatch: pytest.MonkeyPatch, lines: Any) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    with sink.installed(Runtime("logged"), "development"):
        logger.bind(order=7).info("paid {{}} <b>", n=1)
        logger.info("a {brace} and a <tag>", brace=1)
    plain = re.sub(r"\x1b\[\d+m", "", terminal.getvalue()).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    paid \{\} <b>  order=7 n=1", plain[0])
    assert plain[1].endswith("a 1 and a <tag>  brace=1")
    assert lines() == []


async def test_hrpc_log_names_the_line_of_its_caller_or_further_up_with_stack_skip(lines: Any) -> None:
    def wrapped() -> None:
        log.info("wrapped {}", 1, kind="test")  # this line, or the one that calls it

    local = hrpc.with_listen_port(0, host="127.0.0.1")
    found = []
    for frames in (1, 2):
        async with hrpc.new_server(hrpc.with_server_name("skips"), local, hrpc.with_stack_skip(frames)):
            lines()
            wrapped()  # two
            found.append(next(line for line in lines() if line["msg"] == "wrapped 1"))
    own = wrapped.__code__.co_firstlineno + 1
    assert found[0]["file_name"] == f"test_log.py:{own}"
    assert found[1]["file_name"] == f"test_log.py:{own + 7}"
    assert {line["kind"] for line in found} == {"test"}


def test_no_field_and_no_call_loses_a_line_or_raises(capsys: pytest.CaptureFixture[str]) -> None:
    with sink.installed(Runtime("logged"), "development"):
        logger.bind(counts={("a", 1): 2}).info("odd field")
        logger.info("half a character \ud800")
        # Through its handler, because pytest's own handler raises what the standard ones report.
        slip = {"name": "some.library", "levelno": 30, "levelname": "WARNING", "msg": "%d items", "args": ("many",)}
        sink._IntoLoguru().emit(logging.makeLogRecord(slip))
        logger.info("goes on")
    written = capsys.readouterr()
    assert [json.loads(line)["msg"] for line in written.out.splitlines()] == [
        "odd field",
        "half a character \ud800",
        "goes on",
    ]
    assert "Logging error" in written.err


def test_two_servers_side_by_side_log_each_line_once_and_the_last_one_puts_things_back(lines: Any) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    first, second = sink.installed(Runtime("a"), "development"), sink.installed(Runtime("b"), "development")
    with first:
        second.__enter__()
        logging.getLogger("some.library").warning("both")
        assert sorted(line["server_name"] for line in lines()) == ["a", "b"]  # it belongs to neither
    logging.getLogger("some.library").warning("one left")
    assert [line["server_name"] for line in lines()] == ["b"]
    second.__exit__(None, None, None)
    assert (root.level, list(root.handlers)) == before


def test_variables_are_not_shown_with_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    with sink.installed(Runtime("logged"), "development"):
        password = "hunter2"
        try:
            password.nothing  # type: ignore[attr-defined]  # noqa: B018
        except AttributeError as error:
            logger.opt(exception=error).error("failed")
    assert "AttributeError" in terminal.getvalue()
    assert "hunter2" not in terminal.getvalue().replace('password = "hunter2"', "")


def test_without_any_output_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    with sink.installed(Runtime("logged"), "development"):
        logger.info("nobody hears it")


def test_a_service_that_removes_all_sinks_of_loguru_ends_well(lines: Any) -> None:
    with sink.installed(Runtime("logged"), "development"):
        logger.remove()
        logger.info("nobody hears it")
    assert lines() == []
    with sink.installed(Runtime("logged"), "development"):
        logger.info("once")
    assert [line["msg"] for line in lines()] == ["once"]
