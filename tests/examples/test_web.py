"""The example of HTTP and a schedule beside gRPC."""

from __future__ import annotations

import aiohttp
import grpc.aio
import pytest

import hrpc
from examples.greeter import greeter_pb2, greeter_pb2_grpc
from examples.web import app


async def test_greetings_over_grpc_and_http_are_counted_together_and_told_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.http, "_wanted", 0)
    app.server.apply(hrpc.with_listen_port(0, "127.0.0.1"), hrpc.with_health_check(0), hrpc.with_metrics(0))
    async with app.server as server, grpc.aio.insecure_channel(server.address) as channel:
        greeter = greeter_pb2_grpc.GreeterStub(channel)  # type: ignore[no-untyped-call]
        assert (await greeter.SayHello(greeter_pb2.HelloRequest(name="Ada"))).message == "Hello, Ada!"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{app.http.port}/hello/Ada") as response:
                assert await response.json() == {"message": "Hello, Ada!"}
    assert "greeted so far: {'Ada': 2}" in capsys.readouterr().out
