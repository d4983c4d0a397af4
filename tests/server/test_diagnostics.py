"""Reflection and channelz, asked by real clients of theirs."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import hrpc
from examples.greeter import greeter_pb2_grpc
from tests.echo import SERVICE
from tests.server.recorded import LOCAL, a_server

T = TypeVar("T")
INFO = "ServerReflection/ServerReflectionInfo"
OWN = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", "grpc.channelz.v1.Channelz"}


async def asked(server: hrpc.Server, question: Callable[[ProtoReflectionDescriptorDatabase], T]) -> T:
    """What a reflection client finds out, which only blocks."""

    def ask() -> T:
        with grpc.insecure_channel(server.address) as channel:
            return question(ProtoReflectionDescriptorDatabase(channel))

    return await asyncio.to_thread(ask)


def greeter(*options: hrpc.Option) -> hrpc.Server:
    server = hrpc.new_server(hrpc.with_server_name("greeter"), LOCAL, *options)
    greeter_pb2_grpc.add_GreeterServicer_to_server(greeter_pb2_grpc.GreeterServicer(), server)
    return server


def fields(database: ProtoReflectionDescriptorDatabase) -> list[str]:
    service = DescriptorPool(database).FindServiceByName("greeter.v1.Greeter")
    return [field.name for field in service.methods_by_name["SayHello"].input_type.fields]


async def test_a_client_learns_services_methods_and_messages() -> None:
    async with greeter() as server:
        assert set(await asked(server, lambda database: database.get_services())) == {"greeter.v1.Greeter", *OWN}
        assert await asked(server, fields) == ["name"]


async def test_a_service_without_descriptors_is_listed_and_its_messages_are_not_found() -> None:
    async with a_server() as server:
        assert SERVICE in await asked(server, lambda database: database.get_services())
        with pytest.raises(KeyError):
            await asked(server, lambda database: database.FindFileContainingSymbol(SERVICE))
        assert SERVICE in await asked(server, lambda database: database.get_services())


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_are_answered_and_an_open_question_does_not_hold_the_stop(version: str) -> None:
    async with a_server(hrpc.with_graceful_stop(grace=60)) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = channel.stream_stream(
                f"/grpc.reflection.{version}.{INFO}",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )()
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            answer = await call.read()
            assert SERVICE in {service.name for service in answer.list_services_response.service}
            began = time.monotonic()
            await server.stop()
            assert time.monotonic() - began < 30
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK


async def test_channelz_shows_the_servers_of_the_process() -> None:
    async with a_server() as server, grpc.aio.insecure_channel(server.address) as channel:
        stub = channelz_pb2_grpc.ChannelzStub(channel)
        found = await stub.GetServers(channelz_pb2.GetServersRequest())
        assert any(one.data.calls_started == 1 for one in found.server)


async def implemented(server: hrpc.Server) -> tuple[bool, bool]:
    """Whether there is reflection, and channelz."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        reflection = channel.stream_stream(f"/grpc.reflection.v1.{INFO}")(iter(()))
        channelz = channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")(b"")
        codes = [await call.code() for call in (reflection, channelz)]
    unknown = grpc.StatusCode.UNIMPLEMENTED
    return codes[0] is not unknown, codes[1] is not unknown


@pytest.mark.parametrize(
    ("environment", "options", "expected"),
    [
        ("development", (), (True, True)),
        ("staging", (), (True, True)),
        ("production", (), (False, False)),
        ("production", (hrpc.with_reflection(),), (True, False)),
        ("production", (hrpc.with_channelz(),), (False, True)),
        ("testing", (hrpc.with_reflection(False), hrpc.with_channelz(False)), (False, False)),
    ],
)
async def test_both_are_there_outside_of_production_unless_asked_for(
    environment: str, options: tuple[hrpc.Option, ...], expected: tuple[bool, bool]
) -> None:
    async with a_server(hrpc.with_environment(environment), *options) as server:
        assert await implemented(server) == expected


async def test_without_the_packages_they_are_left_out_or_the_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "grpc_reflection", None)
    monkeypatch.setitem(sys.modules, "grpc_channelz", None)
    async with a_server() as server:
        assert await implemented(server) == (False, False)
    for option in (hrpc.with_reflection(), hrpc.with_channelz()):
        with pytest.raises(
            hrpc.errors.StartError, match=rf"{option.name}\(\) needs .*pip install 'hrpc\[reflection\]'"
        ):
            async with a_server(option):
                pass


async def test_in_production_the_packages_are_not_even_imported() -> None:
    code = (
        "import asyncio, sys, hrpc\n"
        "from tests.server.recorded import a_server\n"
        "async def live():\n"
        "    async with a_server(hrpc.with_environment('production')):\n"
        "        assert not {'grpc_reflection.v1alpha', 'grpc_channelz.v1'} & set(sys.modules)\n"
        "asyncio.run(live())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
