"""The event loop of serve(), and grpcio's fast settings."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import hrpc
from hrpc.errors import OptionError
from tests.process import running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
FAST = 'hrpc.with_engine("grpcio", fast=True)'
TELL = """
async def tell() -> None:
    print("loop:", type(asyncio.get_running_loop()).__module__, flush=True)

life.when_exit(tell)
"""
NO_EFFECT = "has no effect: gRPC reads GRPC_EXPERIMENTS while it is imported"


@pytest.mark.parametrize(
    ("options", "loop"),
    [
        ([], "uvloop"),
        (['hrpc.with_event_loop("uvloop")'], "uvloop"),
        (['hrpc.with_event_loop("asyncio")'], "asyncio."),
    ],
)
async def test_it_is_uvloop_where_that_is_installed_unless_told_otherwise(
    tmp_path: Path, options: list[str], loop: str
) -> None:
    async with running(script(tmp_path, LOCAL, *options, before=TELL)) as process:
        await process.says("serves on port")
        process.send(signal.SIGTERM)
        await process.says(f"loop: {loop}")
        assert await process.ended() == 0


async def test_without_uvloop_it_is_the_standard_librarys(tmp_path: Path) -> None:
    hidden = "import sys\nsys.modules['uvloop'] = None\n"
    async with running(script(tmp_path, LOCAL, before=hidden + TELL)) as process:
        await process.says("serves on port")
        process.send(signal.SIGTERM)
        await process.says("loop: asyncio.")
        assert await process.ended() == 0


@pytest.mark.parametrize(("experiments", "warned"), [("", True), ("a,-event_engine_listener", False)])
async def test_fast_settings_that_grpc_has_not_read_are_warned_of(
    tmp_path: Path, experiments: str, warned: bool
) -> None:
    environ = {"GRPC_EXPERIMENTS": experiments, "GRPC_VERBOSITY": "NONE"}
    async with running(script(tmp_path, LOCAL, FAST), environ) as process:
        await process.says("serves on port")
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    assert (NO_EFFECT in process.output) is warned


def test_a_loop_or_an_engine_that_cannot_be_is_refused_when_the_option_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"with_event_loop\('trio'\): takes"):
        hrpc.with_event_loop("trio")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="the fast settings are grpcio's"):
        hrpc.with_engine("native", fast=True)
    monkeypatch.setattr("hrpc.option.engine.find_spec", lambda _: None)
    with pytest.raises(OptionError, match=r"not installed; pip install 'hrpc\[uvloop\]'"):
        hrpc.with_event_loop("uvloop")
