"""What the native engine is not trusted with is still needed: each proof runs on the installed version.

A proof that fails says that this version has learnt it: then the restriction is taken out of `hrpc.option.native`, and
the cases of this folder run on the native engine without it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pygrpc_native
import pygrpc_native.aio
import pytest
from grpc._cython import cygrpc

from hrpc.option.native import PROVEN_ON, RESTRICTIONS
from tests.echo import SERVICE, call
from tests.engine.conformance.conftest import Engine
from tests.engine.conformance.hostile_client import connected
from tests.process import running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
MIB = 1024 * 1024
FAR_OVER = 64 * MIB
BOUND = 32 * MIB
"""What the process may grow by when a message of `FAR_OVER` is refused; the limit of a message is 4 MiB."""

MESSAGES = 300
"""More than a client reads as fast as they are made: a stream that its reader keeps up with needs no thread."""


async def has_no_tls(_: Path) -> bool:
    server = pygrpc_native.aio.Server()
    credentials = grpc.ssl_server_credentials([(b"key", b"certificate")])
    return raises(NotImplementedError, lambda: server.add_secure_port("127.0.0.1:0", credentials))


async def has_no_compression(_: Path) -> bool:
    return raises(NotImplementedError, lambda: pygrpc_native.aio.Server(compression=grpc.Compression.Gzip))


async def has_no_connection_age(_: Path) -> bool:
    options = [("grpc.max_connection_age_ms", 60_000)]
    return raises(ValueError, lambda: pygrpc_native.aio.Server(options=options))


async def is_unknown_to_channelz(_: Path) -> bool:
    def servers() -> int:
        return len(json.loads(cygrpc.channelz_get_servers(0)).get("server", ()))

    before = servers()
    front = pygrpc_native.NativeGrpcFront("127.0.0.1:0", [])
    front.start()
    try:
        return servers() == before
    finally:
        front.close()


async def reads_messages_far_over_the_limit(folder: Path) -> bool:
    return await growth(folder, "native", None) > BOUND or await growth(folder, "native", grpc.Compression.Gzip) > BOUND


async def stalls_when_streams_are_not_read(folder: Path) -> bool:
    # More than the threads of asyncio's executor, each of which one stream that is not read keeps.
    path = folder / "streams.py"
    path.write_text(
        "import asyncio, itertools, grpc, pygrpc_native.aio\n"
        "message = bytes(100_000)\n"
        "begun = itertools.count(1)\n"
        "async def large(request, context):\n"
        "    print(f'begun {next(begun)}.', flush=True)\n"
        f"    for _ in range({MESSAGES}):\n"
        "        yield message\n"
        "async def main():\n"
        "    server = pygrpc_native.aio.server()\n"
        f"    handlers = {{'Large': grpc.unary_stream_rpc_method_handler(large)}}\n"
        f"    server.add_registered_method_handlers({SERVICE!r}, handlers)\n"
        "    port = server.add_insecure_port('127.0.0.1:0')\n"
        "    await server.start()\n"
        "    print(f'port {port}.', flush=True)\n"
        "    await server.wait_for_termination()\n"
        "asyncio.run(main())\n"
    )
    async with running(path) as process, AsyncExitStack() as stack:
        port = re.findall(r"port (\d+)\.", await process.says("port "))[0]
        for _ in range(40):
            stalled = await stack.enter_async_context(connected(f"127.0.0.1:{port}", receive_buffer=4096))
            stalled.call("Large")
            await stalled.flush()
        await process.says("begun 40.")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            reading = channel.unary_stream(f"/{SERVICE}/Large")(b"", timeout=2)
            try:
                return len([part async for part in reading]) < MESSAGES
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


PROOFS: dict[str, Callable[[Path], Awaitable[bool]]] = {
    "tls": has_no_tls,
    "compression": has_no_compression,
    "connection age": has_no_connection_age,
    "channelz": is_unknown_to_channelz,
    "unbounded receive": reads_messages_far_over_the_limit,
    "stalled readers": stalls_when_streams_are_not_read,
}


def raises(kind: type[Exception], attempt: Callable[[], Any]) -> bool:
    """Whether the attempt is refused."""
    try:
        attempt()
    except kind:
        return True
    return False


async def growth(folder: Path, kind: str, compression: grpc.Compression | None) -> int:
    """The bytes by which a server's process grows, at its peak, while it refuses a message far over the limit."""
    option = f'hrpc.with_engine("{kind}", allow_unbounded_receive=True)'
    async with running(script(folder, LOCAL, option), {"HRPC_ENGINE": ""}) as process:
        line = await process.says("serves on port")
        port = line.partition("serves on port ")[2].partition(",")[0]
        unlimited = [("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", unlimited, compression) as channel:
            for _ in range(20):
                await call(channel, "Echo", b"x" * 100_000)
            before = peak(process.pid)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, "Echo", bytes(FAR_OVER), timeout=60)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await call(channel, "Echo") == b"x"
        return peak(process.pid) - before


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def test_every_restriction_has_its_proof() -> None:
    assert set(RESTRICTIONS) <= set(PROOFS)


def test_the_installed_version_is_one_that_these_tests_have_been_run_on() -> None:
    version = pygrpc_native.__version__
    assert version in PROVEN_ON, f"when all of {__package__} passes, add {version!r} to hrpc.option.native.PROVEN_ON"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("name", RESTRICTIONS)
async def test_a_restriction_is_still_needed(tmp_path: Path, name: str) -> None:
    assert await PROOFS[name](tmp_path), (
        f"pygrpc-native {pygrpc_native.__version__} no longer needs the restriction {name!r}: take it out of "
        "hrpc.option.native.RESTRICTIONS and out of docs/engines.md"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "gzip"])
async def test_a_message_far_over_the_limit_is_refused_before_it_is_read(
    engine: Engine, tmp_path: Path, compression: grpc.Compression | None
) -> None:
    if engine.kind == "native" and "unbounded receive" in RESTRICTIONS:
        pytest.skip("the user has to acknowledge that this engine reads it")
    assert await growth(tmp_path, engine.kind, compression) < BOUND
