"""Guards: who does not come in gets a clear answer, and those who do are counted until they have left."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

import hrpc
from hrpc import context, errors
from tests.echo import SERVICE, add_echo, call
from tests.elsewhere import elsewhere
from tests.eventually import eventually

RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(autouse=True, params=["grpcio", "native"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each engine in turn."""
    monkeypatch.setenv("HRPC_ENGINE", request.param)


def a_server(*options: hrpc.Option, **methods: Any) -> hrpc.Server:
    kind: Any = os.environ["HRPC_ENGINE"]
    common = (
        hrpc.with_server_name("guarded"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_engine(kind, allow_unbounded_receive=True),
    )
    server = hrpc.new_server(*common, *options)
    add_echo(server, **methods)
    return server


@asynccontextmanager
async def serving(*options: hrpc.Option, **methods: Any) -> AsyncIterator[tuple[hrpc.Server, grpc.aio.Channel]]:
    async with a_server(*options, **methods) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield server, channel


async def refused(calling: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calling
    return caught.value


def hint(error: grpc.aio.AioRpcError) -> float:
    """After how many seconds to try again, as google.rpc.RetryInfo has it."""
    assert error.code() is RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    return float(retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)


async def healthy(channel: grpc.aio.Channel) -> bool:
    request = health_pb2.HealthCheckRequest()
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)  # type: ignore[no-untyped-call]
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def taken(server: hrpc.Server) -> int:
    """Places that calls have taken."""
    assert server._running is not None
    return sum(server._running.parts.guards.taken.values())


async def given_back(server: hrpc.Server) -> None:
    """Waits until no call has a place; a handler may end a moment after its answer."""

    async def all_free() -> bool:
        return taken(server) == 0

    await eventually(all_free)


class Held:
    """A handler that counts the calls that are in it, and holds them until it is opened."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.opened = asyncio.Event()

    async def __call__(self, request: bytes, _: Any) -> bytes:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.opened.wait()
        finally:
            self.now -= 1
        return request


# The rate.


async def test_calls_beyond_the_rate_are_told_when_to_come_back() -> None:
    async with serving(hrpc.with_rate_limit(0.1, burst=3)) as (_, channel):
        assert [await call(channel, "Echo") for _ in range(3)] == [b"x"] * 3
        error = await refused(call(channel, "EchoInThread"))
        assert 9 <= hint(error) <= 21
        assert error.details() == "too many calls a second"
        error = await refused(channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a"])))
        assert hint(error)
        assert await healthy(channel)


@pytest.mark.parametrize("engine", ["grpcio"], indirect=True)
async def test_the_retries_of_grpc_wait_for_as_long_as_they_are_told() -> None:
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "60s",
        "maxBackoff": "60s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = json.dumps({"methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": policy}]})
    async with a_server(hrpc.with_rate_limit(5, burst=1)) as server:
        async with grpc.aio.insecure_channel(server.address, [("grpc.service_config", config)]) as channel:
            for _number in range(3):
                assert await call(channel, "Echo", timeout=10) == b"x"
        assert server._running is not None
        assert server._running.parts.guards.refusals.counts["rate"] >= 2


async def test_a_service_that_calls_catches_the_same_error() -> None:
    caught: list[float | None] = []

    async def ask(_: bytes, __: Any) -> bytes:
        async with grpc.aio.insecure_channel(server.address, interceptors=hrpc.client_interceptors()) as channel:
            for _number in range(2):
                try:
                    await call(channel, "Echo")
                except errors.Overloaded as error:
                    caught.append(error.retry_after)
        return b""

    limits = {f"{SERVICE}/Echo": (0.1, 1)}
    async with serving(hrpc.with_rate_limit(methods=limits), Ask=ask) as (server, channel):
        await call(channel, "Ask")
    assert len(caught) == 1
    assert caught[0] is not None
    assert 9 <= caught[0] <= 21


async def test_a_method_has_a_rate_of_its_own() -> None:
    limits = {f"{SERVICE}/Echo": (0.1, 1), f"{SERVICE}/Repeat": (0.1, 2)}
    async with serving(hrpc.with_rate_limit(methods=limits)) as (_, channel):
        await call(channel, "Echo")
        assert (await refused(call(channel, "Echo"))).details() == f"too many calls of {SERVICE}/Echo a second"
        assert [await call(channel, "EchoInThread") for _ in range(5)] == [b"x"] * 5
        repeat = channel.unary_stream(f"/{SERVICE}/Repeat")
        for _number in range(2):
            assert [part async for part in repeat(b"a")] == [b"a"] * 3
        assert hint(await refused(repeat(b"a").read()))


# How many at once.


async def test_exactly_so_many_calls_are_in_their_handlers_and_the_others_are_refused() -> None:
    held = Held()
    async with serving(hrpc.with_concurrency_limit(5), Held=held) as (server, channel):
        calls = [asyncio.ensure_future(call(channel, "Held")) for _ in range(60)]

        async def all_the_others_are_back() -> bool:
            return sum(each.done() for each in calls) == 55

        await eventually(all_the_others_are_back)
        assert held.now == 5
        assert taken(server) == 5
        for each in calls:
            if each.done():
                assert 0.1 <= hint(await refused(each)) <= 0.2
        inside = [each for each in calls if not each.done()]
        held.opened.set()
        assert [await each for each in inside] == [b"x"] * 5
        assert [await call(channel, "Held") for _ in range(5)] == [b"x"] * 5
        assert held.most == 5
        assert taken(server) == 0


async def test_health_is_answered_while_every_place_is_taken() -> None:
    held = Held()
    async with serving(hrpc.with_concurrency_limit(1, lag=0.5), Held=held) as (server, channel):
        holding = asyncio.ensure_future(call(channel, "Held"))

        async def full() -> bool:
            return taken(server) == 1

        await eventually(full)
        assert hint(await refused(call(channel, "Echo")))
        assert await healthy(channel)
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        held.opened.set()
        await holding


async def fails(_: bytes, __: Any) -> bytes:
    raise ValueError("no")


def fails_in_thread(_: bytes, __: Any) -> bytes:
    raise ValueError("no")


async def aborts(_: bytes, call: Any) -> bytes:
    await call.abort(grpc.StatusCode.NOT_FOUND, "no")
    return b""


async def stray_cancel(_: bytes, __: Any) -> bytes:
    raise asyncio.CancelledError


async def waits(_: bytes, __: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


def waits_in_thread(_: bytes, __: Any) -> bytes:
    time.sleep(0.3)
    return b""


async def failing(channel: grpc.aio.Channel) -> None:
    await refused(call(channel, "Method"))


async def cancelled_by_the_client(channel: grpc.aio.Channel) -> None:
    calling = call(channel, "Method")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(calling)), 0.1)
    calling.cancel()


async def late(channel: grpc.aio.Channel) -> None:
    error = await refused(call(channel, "Method", timeout=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def stream_left_by_the_client(channel: grpc.aio.Channel) -> None:
    stream = channel.stream_stream(f"/{SERVICE}/Each")()
    await stream.write(b"a")
    assert await stream.read() == b"a"
    stream.cancel()


async def requests_that_break_off(channel: grpc.aio.Channel) -> None:
    arrived = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        yield b"a"
        await arrived.wait()
        raise ZeroDivisionError

    stream = channel.stream_stream(f"/{SERVICE}/Each")(requests())
    assert await stream.read() == b"a"
    arrived.set()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await stream.read()


async def connection_lost(channel: grpc.aio.Channel) -> None:
    calling = asyncio.ensure_future(call(channel, "Method"))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(calling), 0.1)
    await channel.close()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await calling


@pytest.mark.parametrize(
    ("method", "made"),
    [
        (fails, failing),
        (fails_in_thread, failing),
        (aborts, failing),
        (stray_cancel, failing),
        (waits, cancelled_by_the_client),
        (waits_in_thread, cancelled_by_the_client),
        (waits, late),
        (waits_in_thread, late),
        (waits, stream_left_by_the_client),
        (waits, requests_that_break_off),
        (waits, connection_lost),
    ],
)
async def test_a_place_is_given_back_however_a_call_ends(
    method: Any, made: Callable[[grpc.aio.Channel], Awaitable[None]]
) -> None:
    async with serving(hrpc.with_concurrency_limit(1), Method=method) as (server, _):
        for _number in range(2):
            async with grpc.aio.insecure_channel(server.address) as channel:
                await made(channel)
            await given_back(server)
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo") == b"x"


async def test_calls_are_shed_while_the_event_loop_is_late_and_health_is_not() -> None:
    blocking = True

    async def block(_: bytes, __: Any) -> bytes:
        while blocking:
            time.sleep(0.03)  # noqa: ASYNC251 - what a handler must not do
            await asyncio.sleep(0)
        return b""

    exempt = {f"{SERVICE}/EchoInThread": None}
    async with serving(hrpc.with_concurrency_limit(lag=0.01, methods=exempt), Block=block) as (_, channel):
        blocked = asyncio.ensure_future(call(channel, "Block"))

        async def shed() -> grpc.aio.AioRpcError | None:
            try:
                await call(channel, "Echo")
            except grpc.aio.AioRpcError as error:
                return error
            return None

        error = await eventually(shed)
        assert error is not None
        assert hint(error) >= 0.1
        assert error.details() == "the server is overloaded"
        assert await asyncio.gather(*[healthy(channel) for _ in range(5)]) == [True] * 5
        assert await asyncio.gather(*[call(channel, "EchoInThread") for _ in range(5)]) == [b"x"] * 5
        blocking = False
        await blocked

        async def well_again() -> bool:
            return await shed() is None and await shed() is None

        await eventually(well_again, 2)


@pytest.mark.parametrize("engine", ["grpcio"], indirect=True)
async def test_calls_that_wait_to_be_taken_are_shed_though_the_event_loop_is_never_late_for_long() -> None:
    async def work(request: bytes, _: Any) -> bytes:
        time.sleep(0.005)  # noqa: ASYNC251 - what a handler must not do
        return request

    async with elsewhere(lambda: a_server(hrpc.with_concurrency_limit(lag=0.05), Work=work)) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            calls = [asyncio.ensure_future(call(channel, "Work")) for _ in range(500)]
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert await healthy(channel)
    served = [each for each in found if each == b"x"]
    shed = [each for each in found if isinstance(each, grpc.aio.AioRpcError) and hint(each) >= 0.1]
    assert len(served) + len(shed) == 500
    assert len(served) > 20
    assert len(shed) > 100


async def test_no_socket_is_left_behind(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    async with serving(hrpc.with_concurrency_limit(lag=0.5)) as (_, channel):
        assert await call(channel, "Echo") == b"x"
        for folder in short_folder.iterdir():
            assert folder.stat().st_mode & 0o077 == 0
    assert list(short_folder.iterdir()) == []


@pytest.mark.parametrize("engine", ["grpcio"], indirect=True)
async def test_a_server_without_a_place_for_its_socket_says_so_and_serves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    async with serving(hrpc.with_concurrency_limit(lag=0.5)) as (_, channel):
        assert await call(channel, "Echo") == b"x"
    assert "set TMPDIR to a folder that this user can write to" in capsys.readouterr().out


# Who may call.


async def by_token(call: Any) -> str:
    token = dict(call.invocation_metadata()).get("authorization")
    if token is None:
        raise errors.Unauthenticated("log in first")
    if token != "let me in":
        raise errors.PermissionDenied("not you")
    return f"user of {call.method}"


async def test_who_may_not_come_in_is_told_so_and_who_may_is_known_to_the_handler() -> None:
    async def who(_: bytes, __: Any) -> bytes:
        current = context.current()
        assert current is not None
        assert "user of" not in repr(current)
        return str(current.identity).encode()

    def who_in_thread(_: bytes, call: Any) -> bytes:
        return str(call.context.identity).encode()

    async with serving(hrpc.with_auth(by_token), Who=who, WhoInThread=who_in_thread) as (_, channel):
        error = await refused(call(channel, "Who"))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAUTHENTICATED, "log in first")
        error = await refused(call(channel, "Who", metadata=(("authorization", "hello"),)))
        assert (error.code(), error.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you")
        for method in ("Who", "WhoInThread"):
            found = await call(channel, method, metadata=(("authorization", "let me in"),))
            assert found == f"user of /{SERVICE}/{method}".encode()
        assert await healthy(channel)


async def test_streams_ask_too() -> None:
    async with serving(hrpc.with_auth(by_token)) as (_, channel):
        for made in (
            channel.unary_stream(f"/{SERVICE}/Repeat")(b"a").read(),
            channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a"])),
            channel.stream_stream(f"/{SERVICE}/Each")(iter([b"a"])).read(),
        ):
            assert (await refused(made)).code() is grpc.StatusCode.UNAUTHENTICATED


async def raises(_: Any) -> None:
    raise ValueError("password=s3cret")


async def exits(_: Any) -> None:
    raise SystemExit(0)


async def stray(_: Any) -> None:
    raise asyncio.CancelledError


async def says_no(_: Any) -> bool:
    return False


async def closes(call: Any) -> None:
    await call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "closed today")


async def closes_and_goes_on(call: Any) -> str:
    try:
        await closes(call)
    except grpc.aio.AbortError:
        return "somebody"
    return ""


async def upstream_is_away(_: Any) -> None:
    nothing = grpc.aio.Metadata()
    raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "10.0.0.9 is away")


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (raises, grpc.StatusCode.INTERNAL),
        (exits, grpc.StatusCode.INTERNAL),
        (stray, grpc.StatusCode.INTERNAL),
        (says_no, grpc.StatusCode.UNAUTHENTICATED),
        (closes, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (closes_and_goes_on, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (upstream_is_away, grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_no_call_comes_in_whatever_the_auth_function_does_instead_of_returning(
    function: Any, code: grpc.StatusCode
) -> None:
    came_in: list[str] = []

    async def secret(request: bytes, _: Any) -> bytes:
        came_in.append("coroutine")
        return request

    def secret_in_thread(request: bytes, _: Any) -> bytes:
        came_in.append("thread")
        return request

    options = (hrpc.with_auth(function), hrpc.with_concurrency_limit(1))
    async with serving(*options, Secret=secret, SecretInThread=secret_in_thread) as (server, channel):
        for method in ("Secret", "SecretInThread"):
            error = await refused(call(channel, method, timeout=5))
            assert error.code() is code
            assert "s3cret" not in (error.details() or "")
            await given_back(server)
    assert came_in == []


async def test_services_and_methods_have_auth_functions_of_their_own_or_none() -> None:
    async def nobody(_: Any) -> None:
        raise errors.PermissionDenied

    methods = {SERVICE: nobody, f"{SERVICE}/Echo": None}
    async with serving(hrpc.with_auth(by_token, methods=methods)) as (_, channel):
        assert await call(channel, "Echo") == b"x"
        error = await refused(call(channel, "EchoInThread", metadata=(("authorization", "let me in"),)))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_deadline_of_the_call_holds_for_the_auth_function() -> None:
    ended = asyncio.Event()

    async def thinks(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(hrpc.with_auth(thinks), hrpc.with_default_timeout(0.2)) as (_, channel):
        assert (await refused(call(channel, "Echo"))).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(ended.wait(), 5)


async def nobody(_: Any) -> None: ...


async def test_tools_have_to_say_who_they_are_unless_the_option_lets_everybody_in() -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    async with serving(hrpc.with_auth(by_token)) as (_, channel):
        error = await refused(channel.stream_stream(path)(iter([b""])).read())
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    open_to_all = {"grpc.reflection.v1alpha.ServerReflection": None}
    async with serving(hrpc.with_auth(by_token, methods=open_to_all)) as (_, channel):
        assert await channel.stream_stream(path)(iter([b""])).read()


@pytest.mark.parametrize(
    "option",
    [
        hrpc.with_rate_limit(methods={f"{SERVICE}/Eco": 1}),
        hrpc.with_concurrency_limit(methods={f"{SERVICE}/Eco": 1}),
        hrpc.with_auth(nobody, methods={f"{SERVICE}/Eco": None}),
    ],
)
async def test_a_guard_of_a_method_that_the_server_does_not_have_fails_the_start(option: hrpc.Option) -> None:
    server = a_server(option)
    with pytest.raises(errors.StartError, match=rf"hrpc\.{option.name}.*'test\.Echo/Eco'"):
        async with server:
            pass


async def test_the_servers_own_services_may_be_named_where_they_are_not_served() -> None:
    names = {"grpc.reflection.v1alpha.ServerReflection": None}
    async with serving(hrpc.with_auth(nobody, methods=names)) as (_, channel):
        assert await call(channel, "Echo") == b"x"


async def test_what_was_refused_and_how_late_the_event_loop_was_is_measured() -> None:
    async with serving(hrpc.with_rate_limit(0.1, burst=1), hrpc.with_metrics(0)) as (server, channel):
        await call(channel, "Echo")
        for _number in range(2):
            await refused(call(channel, "Echo"))
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            lines = (await answer.text()).splitlines()
    assert 'hrpc_refused_total{limit="rate"} 2.0' in lines
    assert any(line.startswith("hrpc_event_loop_lag_seconds ") for line in lines)
