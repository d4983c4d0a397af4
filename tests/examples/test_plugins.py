"""docs/plugins.md: the plugin in 20 lines is one, found by the name that its pyproject.toml says."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock
from unittest.mock import call as mock

import aiohttp
import grpc.aio
import pytest

import hrpc
from hrpc.errors import StartError
from hrpc.testing import provide
from tests.distribution import installed
from tests.echo import call
from tests.examples.pages import DOCS, blocks
from tests.server.recorded import a_server

PAGE = DOCS / "plugins.md"
SOURCE = blocks("python", PAGE)[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    project = tomllib.loads(blocks("toml", PAGE)[0])["project"]
    installed(tmp_path, project["name"], project["entry-points"]["hrpc.plugins"], SOURCE, project["version"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("acme_flags", None)


def test_the_plugin_in_20_lines_has_20_lines() -> None:
    assert len([line for line in SOURCE.splitlines() if line.strip()]) <= 20


async def test_the_plugin_in_20_lines_works(folder: Path) -> None:
    async def is_on(request: bytes, _: object) -> bytes:
        return str(request.decode() in sys.modules["acme_flags"].get().on).encode()

    (folder / "flags.json").write_text(json.dumps(["new-cart"]))
    server = a_server(hrpc.with_plugins("acme-flags"), hrpc.with_health_check(0), IsOn=is_on)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert [await call(channel, "IsOn", name) for name in (b"new-cart", b"other")] == [b"True", b"False"]
        address = f"http://127.0.0.1:{server.health_port}"
        async with aiohttp.ClientSession(address) as session:
            async with session.get("/debug/flags") as response:
                assert await response.json() == {"on": ["new-cart"]}
            async with session.get("/healthx/readiness") as response:
                assert (await response.json())["parts"] == {"server": "ok", "flags": "ok"}
        with provide(sys.modules["acme_flags"], type("Fake", (), {"on": {"other"}})()):
            assert await call(channel, "IsOn", b"other") == b"True"


async def test_the_plugin_in_20_lines_ends_a_start_without_its_file(folder: Path) -> None:
    with pytest.raises(StartError, match=r"^\[step \d+/\d+\] acme-flags: FileNotFoundError"):
        async with a_server(hrpc.with_plugins("acme-flags")):
            pass


async def test_the_plugin_that_announces_tells_the_balancer_of_a_life_and_of_maintenance() -> None:
    (source,) = (block for block in blocks("python", PAGE) if "class Announcing" in block)
    names: dict[str, Any] = {"hrpc": hrpc, "asynccontextmanager": asynccontextmanager, "partial": partial}
    exec(source, names)
    plugin = names["Announcing"]()
    plugin.balancer = balancer = AsyncMock()
    async with a_server(hrpc.with_plugins(plugin), hrpc.with_graceful_stop(drain_delay=0)) as server:
        await server.enter_maintenance("repairs")
        await server.leave_maintenance()
        port = server.port
    id = balancer.add.call_args.args[0]
    assert balancer.mock_calls == [
        *(mock.add(id, "127.0.0.1", port), mock.pause(id, "repairs"), mock.pause(id, None)),
        *(mock.remove(id), mock.forget()),
    ]
