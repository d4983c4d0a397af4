"""Fields and traces on the lines that handlers write, however they write them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import grpc.aio
import pytest
from loguru import logger

import hrpc
from hrpc import log
from hrpc._runtime import Runtime
from hrpc.log import sink
from tests.echo import add_echo, call
from tests.server.recorded import LOCAL


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Any:
    """Gives the lines that were logged."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_logger_with_fields_puts_them_on_each_of_its_lines(lines: Any) -> None:
    with sink.installed(Runtime("logged"), "development", "DEBUG"):
        orders = log.with_fields(order=7, state="new")
        paid = orders.with_fields(state="paid")
        orders.debug("received")
        paid.info("{} of {total}", 3, total=5)
        paid.warning("late", state="late")
        paid.error("not formatted: {}")
        log.info("without")
    found = [(line["level"], line["msg"], line.get("order"), line.get("state")) for line in lines()]
    assert found == [
        ("debug", "received", 7, "new"),
        ("info", "3 of 5", 7, "paid"),
        ("warning", "late", 7, "late"),
        ("error", "not formatted: {}", 7, "paid"),
        ("info", "without", None, None),
    ]


def test_its_lines_name_their_caller_and_no_field_takes_the_place_of_one_of_the_framework(lines: Any) -> None:
    with sink.installed(Runtime("logged"), "development"):
        log.with_fields(message="m", level="l", self=1, server_name="forged", msg="forged").info("said")
    (line,) = lines()
    own = test_its_lines_name_their_caller_and_no_field_takes_the_place_of_one_of_the_framework
    assert line["file_name"] == f"test_fields.py:{own.__code__.co_firstlineno + 2}"
    assert (line["message"], line["level"], line["msg"], line["server_name"]) == ("m", "info", "said", "logged")


def test_what_the_standard_librarys_logging_is_given_as_extra_are_fields(lines: Any) -> None:
    with sink.installed(Runtime("logged"), "development"):
        logging.getLogger("some.library").warning("paid", extra={"order": 7})
        logging.getLogger("some.library").warning("paid")
    first, second = lines()
    assert first["order"] == 7
    assert set(first) - set(second) == {"order"}


async def test_every_line_of_a_handler_has_the_trace_of_its_call(lines: Any) -> None:
    def say(where: str) -> None:
        log.info(f"{where} log")
        logger.info(f"{where} loguru")
        logging.getLogger("some.library").info("%s logging", where)

    async def in_task() -> None:
        say("task")

    async def handler(request: bytes, _: Any) -> bytes:
        say("handler")
        await asyncio.create_task(in_task())
        await hrpc.go(in_task())
        await asyncio.to_thread(say, "to_thread")
        return request

    def in_thread(request: bytes, _: Any) -> bytes:
        say("thread")
        return request

    server = hrpc.new_server(hrpc.with_server_name("traced"), LOCAL)
    add_echo(server, Handler=handler, InThread=in_thread)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        for _ in range(2):
            await call(channel, "Handler")
            await call(channel, "InThread")
    found = lines()
    traces = [(line["trace_id"], line["span_id"]) for line in found if line["category"] == "audit"]
    assert len(set(traces)) == 4
    for trace in traces:
        said = [
            line["msg"] for line in found if line["category"] == "log" and (line["trace_id"], line["span_id"]) == trace
        ]
        assert len(said) in (3, 12)
    assert len([line for line in found if line["trace_id"] and line["category"] == "log"]) == 30


def test_sinks_and_handlers_of_ones_own_can_have_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(log.add_trace)
    handler.setFormatter(logging.Formatter("%(message)s %(trace_id)s %(span_id)s"))
    library = logging.getLogger("traced.library")
    library.addHandler(handler)
    own = logger.patch(log.add_trace)
    number = logger.add(written, format="{message} {extra[trace_id]} {extra[span_id]}")
    try:
        with hrpc.background_context() as context:
            library.warning("library")
            own.info("loguru")
        library.warning("outside")
    finally:
        logger.remove(number)
        library.removeHandler(handler)
    trace = f"{context.trace_id} {context.span_id}"
    assert written.getvalue().splitlines() == [f"library {trace}", f"loguru {trace}", "outside  "]
