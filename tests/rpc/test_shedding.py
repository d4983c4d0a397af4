"""A server whose event loop is late sheds calls, and goes on to say that it lives."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from tests.echo import SERVICE, call
from tests.elsewhere import elsewhere
from tests.eventually import eventually
from tests.rpc.guarded import a_server, healthy, hint, serving

pytestmark = pytest.mark.usefixtures("engine")


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

        await eventually(well_again)


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
    assert len(served) > 10
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
