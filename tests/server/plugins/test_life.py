"""Plugins in the life of a server: when they are loaded, and what they bring."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
import pytest

import hrpc
from hrpc.errors import OptionError, PluginError
from tests.server.hosting import Scripted
from tests.server.plugins.recorded import Announcing, Loaded
from tests.server.recorded import Recorded, a_server


async def test_plugins_are_loaded_before_the_databases_and_unloaded_in_reverse_after_them() -> None:
    happened: list[str] = []
    plugins = (Loaded("a", "b", happened=happened), Loaded("b", happened=happened))
    async with a_server(hrpc.with_plugins(*plugins), hrpc.with_databases(Recorded(happened))):
        assert happened == ["load b", "load a", "open"]
    assert happened[3:] == ["close", "unload a", "unload b"]


def test_a_job_loads_plugins_and_announces_nothing() -> None:
    plugin = Announcing("a")

    async def job() -> list[str]:
        return list(plugin.happened)

    assert a_server(hrpc.with_plugins(plugin)).run(job) == ["load a"]
    assert plugin.happened == ["load a", "unload a"]


async def test_readiness_asks_the_health_checks_of_plugins() -> None:
    class Checked(Loaded):
        well = True
        health_checks = property(lambda self: {"acme": lambda: self.well})

    plugin = Checked("a")
    async with a_server(hrpc.with_plugins(plugin), hrpc.with_health_check(0)) as server:
        url = f"http://127.0.0.1:{server.health_port}/healthx/readiness"
        plugin.well = False
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 503
            assert (await response.json())["parts"]["acme"] == "it says no"


async def test_options_of_plugins_give_way_to_those_of_the_user_and_lists_add_up() -> None:
    happened: list[str] = []

    class Bringing(Loaded):
        options = (
            hrpc.with_health_check(0),
            hrpc.with_graceful_stop(grace=3),
            hrpc.with_services(Scripted("theirs", happened), max_shutdown=40),
            hrpc.with_pre_run(lambda: happened.append("their step")),
        )

    given = (hrpc.with_graceful_stop(grace=4), hrpc.with_services(Scripted("ours", happened)))
    async with a_server(*given, hrpc.with_plugins(Bringing("a", happened=happened))) as server:
        assert server.health_port
        assert server.settings.stop.grace == 4
        assert server.settings.hosted.max_shutdown == 40
        assert happened == ["load a", "their step", "theirs setup", "ours setup", "theirs run", "ours run"]


def test_options_that_cannot_be_read_are_told_with_the_plugin() -> None:
    class Failing(Loaded):
        @property
        def options(self) -> Sequence[hrpc.Option]:  # type: ignore[override]
            raise KeyError("table")

    with pytest.raises(PluginError, match=r"^plugin 'a': its options raised KeyError: 'table'$"):
        a_server(hrpc.with_plugins(Failing("a")))


def test_what_a_plugin_brings_twice_or_as_no_option_is_an_error() -> None:
    class Bringing(Loaded):
        options = (hrpc.with_services(Scripted("one")),)

    with pytest.raises(OptionError, match="two services have the id 'one'"):
        a_server(hrpc.with_services(Scripted("one")), hrpc.with_plugins(Bringing("a")))
    for options, says in (
        ((1,), "plugin 'a': its options have 1; they take what hrpc.with_… gives"),
        ((hrpc.with_plugins(Loaded("b")),), "plugin 'a': its options bring plugins; name them in its depends_on"),
    ):
        Bringing.options = options  # type: ignore[assignment]
        with pytest.raises(PluginError) as caught:
            a_server(hrpc.with_plugins(Bringing("a")))
        assert str(caught.value) == says
