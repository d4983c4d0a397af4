"""Settings of a running server: read at the start, followed, and kept when what is written is wrong."""

from __future__ import annotations

import asyncio
import json
import tomllib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import aiohttp
import grpc.aio
import pytest

import hrpc
from hrpc.errors import InvalidConfig, OptionError, StartError
from hrpc.testing.servers import ConsulServer
from hrpc_configs import Secret, Settings
from tests import agent
from tests.echo import add_echo, call
from tests.eventually import eventually


@dataclass(frozen=True)
class Limits:
    per_order: int = 20
    share: float = 0.5
    token: Secret[str] = ""

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError(f"{self.token}: share {self.share} is above 1")


def server(*options: hrpc.Option) -> hrpc.Server:
    return hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )


async def test_settings_follow_the_key_and_a_bad_write_keeps_them(
    consul: ConsulServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("per_order = 1\nshare = 0.1\n")
    monkeypatch.setenv("SHOP_SHARE", "0.3")
    key, prefix = f"{tmp_path.name}/services/shop/limits", tmp_path.name
    await agent.store(consul.address, key, json.dumps({"per_order": 2, "token": "hunter2"}))
    limits = Settings(Limits, key="limits", file=file, env="SHOP_")
    seen: asyncio.Queue[Limits] = asyncio.Queue()
    limits.watch(seen.put)

    async def read(_: bytes, __: object) -> bytes:
        return str(limits.get().per_order).encode()

    running = server(hrpc.with_consul(hrpc.Consul(address=consul.address, prefix=prefix)), hrpc.with_plugins(limits))
    add_echo(running, Read=read)
    async with running, grpc.aio.insecure_channel(running.address) as channel:
        assert limits.get() == Limits(2, 0.3, "hunter2")
        assert await call(channel, "Read") == b"2"
        assert str(limits.explain()).splitlines() == [
            f"per_order  2           key '{key}' (also in: file '{file}')",
            f"share      0.3         variable SHOP_SHARE (also in: file '{file}')",
            f"token      [redacted]  key '{key}'",
        ]
        assert seen.empty()
        await agent.store(consul.address, key, json.dumps({"per_order": 3, "token": "hunter2"}))
        assert await seen.get() == limits.get() == Limits(3, 0.3, "hunter2")

        for bad, told in [
            ('{"per_order": "x"}', f"key '{key}': field 'per_order': expected a whole number, found a text"),
            ("[1]", f"key '{key}': expected an object, found a list"),
        ]:
            capsys.readouterr()
            await agent.store(consul.address, key, bad)
            output = ""

            async def is_told() -> bool:
                nonlocal output
                output += capsys.readouterr().out
                return "is kept" in output

            await eventually(is_told)
            messages = [json.loads(line)["msg"] for line in output.splitlines()]
            assert [one for one in messages if "is kept" in one] == [f"{told}; the value before it is kept"]
            assert limits.get() == Limits(3, 0.3, "hunter2")

        file.write_text("share = 7\n")
        monkeypatch.delenv("SHOP_SHARE")
        await agent.delete(consul.address, key)
        assert await seen.get() == limits.get() == Limits(1, 0.3)


async def test_the_file_is_read_again_on_sighup_and_a_bad_one_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "limits.json"
    file.write_text('{"per_order": 1}')
    limits = Settings(Limits, key="limits", file=file)
    seen: asyncio.Queue[Limits] = asyncio.Queue()
    with limits.watch(seen.put):
        async with server(hrpc.with_plugins(limits)) as running:
            assert running._running is not None
            assert limits.get() == Limits(1)
            file.write_text('{"per_order": 2}')
            running._running.request_restart()
            assert await seen.get() == limits.get() == Limits(2)
            file.write_text('{"per_order": 3, "share": 2, "token": "hunter2"}')
            running._running.request_restart()
            output = ""

            async def is_told() -> bool:
                nonlocal output
                output += capsys.readouterr().out
                return "is above 1" in output

            await eventually(is_told)
            assert "settings Limits: Limits refuses it: [redacted]: share 2.0 is above 1" in output
            assert "hunter2" not in output
            assert limits.get() == Limits(2)


async def test_settings_that_are_wrong_at_the_start_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PER_ORDER", "many")
    with pytest.raises(StartError) as caught:
        async with server(hrpc.with_plugins(Settings(Limits, env="SHOP_"))):
            pass
    assert isinstance(caught.value.__cause__, InvalidConfig)
    assert str(caught.value).endswith(
        "] hrpc-configs Limits: variable SHOP_PER_ORDER: field 'per_order': expected a whole number, found a text"
    )


async def test_a_job_has_the_settings_and_each_life_reads_them_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Settings(Limits, env="SHOP_")
    made = server(hrpc.with_plugins(limits))
    for number in (1, 2):
        monkeypatch.setenv("SHOP_PER_ORDER", str(number))
        async with made:
            assert limits.get() == Limits(number)
    with pytest.raises(hrpc.errors.NotRunning):
        limits.get()


def test_settings_are_named_once_and_are_there_before_what_needs_them() -> None:
    class Other:
        name = "other"
        depends_on = ("hrpc-configs Limits",)

        def load(self) -> None: ...

    limits = Settings(Limits)
    given = hrpc.with_plugins(Other(), limits)  # type: ignore[arg-type]
    assert [plugin.name for plugin in server(given).settings.plugins] == ["hrpc-configs Limits", "other"]
    with pytest.raises(OptionError, match="plugin 'hrpc-configs Limits' is given twice"):
        server(hrpc.with_plugins(limits), hrpc.with_plugins(Settings(Limits)))


async def test_a_debug_page_tells_where_each_value_is_from_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "hunter2")
    own = hrpc.with_plugins(Settings(Limits, env="SHOP_"))
    async with server(own, hrpc.with_health_check(0)) as running, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{running.health_port}/debug/settings/Limits"
        async with session.get(url) as response:
            rows = (await response.json())["settings"]
    assert rows[-1] == {"field": "token", "value": "[redacted]", "source": "variable SHOP_TOKEN", "overridden": []}
    assert rows[0] == {"field": "per_order", "value": "20", "source": "default", "overridden": []}


def test_the_package_offers_itself_as_a_plugin() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["hrpc.plugins"][project["name"]].partition(":")
    assert getattr(import_module(module), name) is Settings


async def test_a_field_that_the_class_does_not_have_is_told_with_where_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("per_oder = 1\n")
    async with server(hrpc.with_plugins(Settings(Limits, file=file))):
        pass
    assert f"file '{file}': Limits has no fields per_oder; they are ignored" in capsys.readouterr().out
