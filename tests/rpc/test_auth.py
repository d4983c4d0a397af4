"""Who may call: who does not come in gets a clear answer, and who does is known to the handler."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import context, errors
from tests.echo import SERVICE, call
from tests.rpc.guarded import given_back, healthy, refused, serving

pytestmark = pytest.mark.usefixtures("engine")


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
            error = await refused(call(channel, method, timeout=30))
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


async def test_tools_have_to_say_who_they_are_unless_the_option_lets_everybody_in() -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    async with serving(hrpc.with_auth(by_token)) as (_, channel):
        error = await refused(channel.stream_stream(path)(iter([b""])).read())
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    open_to_all = {"grpc.reflection.v1alpha.ServerReflection": None}
    async with serving(hrpc.with_auth(by_token, methods=open_to_all)) as (_, channel):
        assert await channel.stream_stream(path)(iter([b""])).read()
