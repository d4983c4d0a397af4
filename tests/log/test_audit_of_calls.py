"""The audit log of a running server: one line for each call of each kind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import hrpc
from hrpc.context import METADATA_KEY
from tests.echo import SERVICE, call, each, echo, echo_in_thread, join, repeat, repeat_in_thread
from tests.server.recorded import a_server


@asynccontextmanager
async def serving(*options: hrpc.Option) -> AsyncIterator[tuple[hrpc.Server, grpc.aio.Channel]]:
    async with a_server(*options) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield server, channel


@pytest.fixture
def audited(capsys: pytest.CaptureFixture[str]) -> Any:
    """Gives the lines of the audit log; complete once the server has stopped."""

    def lines() -> Iterator[dict[str, Any]]:
        for line in map(json.loads, capsys.readouterr().out.splitlines()):
            if line["category"] == "audit":
                yield line

    return lambda: list(lines())


async def test_each_kind_of_call_has_one_line_that_names_its_handler(audited: Any) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async with serving() as (_, channel):
        await call(channel, "Echo")
        await call(channel, "EchoInThread")
        for streaming in ("Repeat", "RepeatInThread"):
            assert len([one async for one in channel.unary_stream(f"/{SERVICE}/{streaming}")(b"x")]) == 3
        await channel.stream_unary(f"/{SERVICE}/Join")(requests())
        assert len([one async for one in channel.stream_stream(f"/{SERVICE}/Each")(requests())]) == 2
    lines = audited()
    handlers = {
        "Echo": echo,
        "EchoInThread": echo_in_thread,
        "Repeat": repeat,
        "RepeatInThread": repeat_in_thread,
        "Join": join,
        "Each": each,
    }
    assert {line["method"]: line["file_name"] for line in lines} == {
        f"/{SERVICE}/{name}": f"echo.py:{handler.__code__.co_firstlineno}" for name, handler in handlers.items()
    }
    assert len(lines) == len(handlers)
    assert {(line["code"], line["level"], line["direction"]) for line in lines} == {("OK", "info", "in")}
    assert all(0 < line["duration_ms"] < 10_000 for line in lines)


async def test_a_line_has_the_trace_the_caller_and_the_client_of_the_metadata(audited: Any) -> None:
    message = {"server_name": "users", "trace_id": "abcd", "client_info": {"ip": "1.2.3.4", "ua": "x"}}
    async with serving() as (_, channel):
        await call(channel, "Echo", metadata=[(METADATA_KEY, json.dumps(message))])
    (line,) = audited()
    assert (line["trace_id"], line["caller"], line["client_ip"]) == ("abcd", "users", "1.2.3.4")
    assert len(line["span_id"]) == 16


async def test_a_call_that_fails_says_how_and_has_the_trace_of_what_its_handler_logged(
    audited: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async def aborts(_: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        return b""

    async def crashes(_: bytes, __: Any) -> bytes:
        raise ZeroDivisionError

    from tests.echo import add_echo

    server = hrpc.new_server(hrpc.with_server_name("failing"), hrpc.with_listen_port(0, "127.0.0.1"))
    add_echo(server, Aborts=aborts, Crashes=crashes)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        for name in ("Aborts", "Crashes"):
            with pytest.raises(grpc.aio.AioRpcError):
                await call(channel, name)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    aborted, crashed = (line for line in lines if line["category"] == "audit")
    assert (aborted["code"], aborted["level"], aborted["error"]) == ("NotFound", "info", "no such order")
    assert (crashed["code"], crashed["level"]) == ("Internal", "error")
    (logged,) = (line for line in lines if "error_id" in line)
    assert logged["error_id"] in crashed["error"]
    assert (logged["trace_id"], logged["span_id"]) == (crashed["trace_id"], crashed["span_id"])


async def test_health_probes_have_no_line(audited: Any) -> None:
    async with serving() as (_, channel):
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert audited() == []


async def test_it_can_be_turned_off_and_sampled(audited: Any) -> None:
    for option in (hrpc.with_audit_log(False), hrpc.with_audit_log(sample=0.0, slow=None)):
        async with serving(option) as (_, channel):
            assert await call(channel, "Echo") == b"x"
        assert audited() == []


async def test_payloads_are_those_of_unary_calls_only(audited: Any) -> None:
    async with serving(hrpc.with_audit_log(payloads=True)) as (_, channel):
        await call(channel, "Echo")
        assert [one async for one in channel.unary_stream(f"/{SERVICE}/Repeat")(b"x")]
    unary, streaming = audited()
    assert (unary["request"], unary["response"]) == ("(bytes, 1 bytes)", "(bytes, 1 bytes)")
    assert streaming["request"] == "(bytes, 1 bytes)"
    assert "response" not in streaming
