"""What is around a handler: interceptors, context variables, and the messages' own code."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import hrpc
from tests.echo import SERVICE, call
from tests.engine.conformance.conftest import Engine

seen_by: ContextVar[str] = ContextVar("seen_by", default="nobody")


async def who(_: bytes, __: Any) -> bytes:
    return seen_by.get().encode()


async def test_context_variables_set_before_the_start_are_visible_in_handlers(engine: Engine) -> None:
    seen_by.set("whoever starts it")
    async with engine.server(Who=who) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Who") == b"whoever starts it"


async def test_a_context_variable_set_in_one_call_is_not_seen_by_the_next(engine: Engine) -> None:
    async def claims(request: bytes, _: Any) -> bytes:
        before = seen_by.get()
        seen_by.set(request.decode())
        await asyncio.sleep(0)
        assert seen_by.get() == request.decode()
        return before.encode()

    async with engine.server(Claim=claims) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await asyncio.gather(*(call(channel, "Claim", b"%d" % n) for n in range(50))) == [b"nobody"] * 50


class Recording(grpc.aio.ServerInterceptor):
    """Notes each call that passes."""

    def __init__(self, name: str, seen: list[tuple[str, str]]) -> None:
        self._name = name
        self._seen = seen

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        self._seen.append((self._name, details.method))
        return await continuation(details)


async def test_interceptors_run_in_their_order_on_every_kind_of_call_and_on_unknown_methods(engine: Engine) -> None:
    seen: list[tuple[str, str]] = []
    chain = hrpc.with_interceptors(Recording("outer", seen), Recording("inner", seen))
    async with engine.server(chain) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Echo") == b"x"
        assert [part async for part in channel.unary_stream(f"/{SERVICE}/Repeat")(b"a")] == [b"a"] * 3
        assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a"])) == b"a"
        with pytest.raises(grpc.aio.AioRpcError):
            await call(channel, "Nothing")
    methods = [f"/{SERVICE}/{name}" for name in ("Echo", "Repeat", "Join", "Nothing")]
    assert seen == [(name, method) for method in methods for name in ("outer", "inner")]


async def test_an_interceptor_can_look_at_the_metadata_and_answer_in_place_of_the_handler(engine: Engine) -> None:
    class Token(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            if ("token", "right") in details.invocation_metadata:
                return await continuation(details)

            async def refuse(_: bytes, call: Any) -> None:
                await call.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")

            return grpc.unary_unary_rpc_method_handler(refuse)  # type: ignore[arg-type]

    async with engine.server(hrpc.with_interceptors(Token())) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo", metadata=(("token", "right"),)) == b"x"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, "Echo")
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, "no token")


async def test_an_interceptor_that_fails_fails_the_call_and_the_server_goes_on(engine: Engine) -> None:
    class Fails(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            if ("fail", "1") in details.invocation_metadata:
                raise ValueError("of the interceptor")
            return await continuation(details)

    async with engine.server(hrpc.with_interceptors(Fails())) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await call(channel, "Echo", metadata=(("fail", "1"),), timeout=30)
            assert await call(channel, "Echo") == b"x"


def of_two(message: bytes) -> bytes:
    if len(message) != 2:
        raise ValueError("secret words of the parser")
    return message


@pytest.mark.parametrize("side", ["request", "response"])
async def test_a_message_that_cannot_be_read_or_written_fails_the_call_alone(engine: Engine, side: str) -> None:
    async def doubled(request: bytes, _: Any) -> bytes:
        return request * 2

    parse, render = (of_two, None) if side == "request" else (None, of_two)
    server = engine.server()
    handler = grpc.unary_unary_rpc_method_handler(doubled, parse, render)  # type: ignore[arg-type]
    server.add_registered_method_handlers("test.Two", {"Two": handler})
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        two = channel.unary_unary("/test.Two/Two")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await two(b"123", timeout=30)
        assert "secret" not in (caught.value.details() or "")
        assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
        assert await two(b"12" if side == "request" else b"1", timeout=30) in (b"1212", b"11")


async def test_the_health_service_answers_checks_and_watches(engine: Engine) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE):
            request = health_pb2.HealthCheckRequest(service=service)
            assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
            watch = health.Watch(request)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            watch.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_hundreds_of_open_watches_leave_room_for_calls(engine: Engine) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(300)]
        told = await asyncio.gather(*(watch.read() for watch in watches))
        assert {answer.status for answer in told} == {health_pb2.HealthCheckResponse.SERVING}
        assert await call(channel, "Echo", timeout=30) == b"x"
        assert await call(channel, "EchoInThread", timeout=30) == b"x"
        for watch in watches:
            watch.cancel()


async def test_reflection_lists_the_services(engine: Engine) -> None:
    server = engine.server(hrpc.with_reflection())
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = [answer async for answer in stub.ServerReflectionInfo(iter([question]))]
        names = {service.name for service in answers[0].list_services_response.service}
        assert {SERVICE, "grpc.health.v1.Health"} <= names
