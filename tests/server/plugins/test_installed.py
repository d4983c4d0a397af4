"""Plugins by name: those that packages name in the entry point group hrpc.plugins, and what is wrong with some."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hrpc
from hrpc.errors import MissingPlugin, OptionError, PluginError
from tests.distribution import installed
from tests.server.plugins.recorded import Loaded
from tests.server.recorded import a_server

SOURCE = """
import hrpc.plugin

made = []

class Quotes(hrpc.plugin.Plugin):
    name = "acme-quotes"
    depends_on = ("acme-prices",)

class Prices(hrpc.plugin.Plugin):
    name = "acme-prices"

    def __init__(self):
        made.append(self)

def new():
    return Quotes()

class Configured(hrpc.plugin.Plugin):
    name = "acme-configured"

    def __init__(self, table):
        pass

class OfTomorrow(hrpc.plugin.Plugin):
    name = "acme-tomorrow"
    api_version = 2

def fails():
    raise OSError("no\\nfile")

def leaves():
    raise SystemExit("not here")

number = 1
"""
NAMES = {
    "acme-quotes": "acme_all:Quotes",
    "acme-prices": "acme_all:Prices",
    "acme-made": "acme_all:new",
    "acme-configured": "acme_all:Configured",
    "acme-tomorrow": "acme_all:OfTomorrow",
    "acme-fails": "acme_all:fails",
    "acme-leaves": "acme_all:leaves",
    "acme-number": "acme_all:number",
    "acme-gone": "acme_all:Gone",
    "acme-away": "acme_away",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(installed(tmp_path, "acme-all", NAMES, SOURCE, "2.1"))
    yield tmp_path
    sys.modules.pop("acme_all", None)


async def test_a_plugin_is_found_by_its_name_and_what_it_depends_on_is_loaded_too_when_it_is_installed() -> None:
    server = a_server(hrpc.with_plugins(Loaded("first"), "acme-quotes"))
    assert [plugin.name for plugin in server.settings.plugins] == ["first", "acme-prices", "acme-quotes"]
    async with server:
        pass


async def test_what_is_installed_and_not_asked_for_is_not_loaded() -> None:
    async with a_server(hrpc.with_plugins(Loaded("first"))) as server:
        assert [plugin.name for plugin in server.settings.plugins] == ["first"]
    assert "acme_all" not in sys.modules


def test_an_object_is_taken_before_the_one_that_is_installed() -> None:
    own = Loaded("acme-prices")
    server = a_server(hrpc.with_plugins("acme-quotes", own))
    assert server.settings.plugins[0] is own
    assert sys.modules["acme_all"].made == []


def test_an_installed_dependency_is_made_once_for_a_server_however_often_options_are_added() -> None:
    server = a_server(hrpc.with_plugins("acme-quotes"))
    first = server.settings.plugins
    server.apply(hrpc.with_plugins(Loaded("more")))
    assert server.settings.plugins[:2] == first
    assert len(sys.modules["acme_all"].made) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "acme-made",
            "plugin 'acme-made' of acme-all 2.1: it makes the plugin 'acme-quotes'; entry point and",
        ),
        (
            "acme-configured",
            "plugin 'acme-configured' takes arguments: make it in code, by acme_all.Configured(…)",
        ),
        (
            "acme-tomorrow",
            "plugin 'acme-tomorrow' of acme-all 2.1: 'acme-tomorrow' is made for version 2 of",
        ),
        ("acme-fails", "plugin 'acme-fails' of acme-all 2.1: acme_all:fails() raised OSError: no file"),
        (
            "acme-leaves",
            "plugin 'acme-leaves' of acme-all 2.1: acme_all:leaves() raised SystemExit: not here",
        ),
        (
            "acme-number",
            "plugin 'acme-number' of acme-all 2.1: 'acme_all:number' is 1, and has to be a class",
        ),
        ("acme-gone", "plugin 'acme-gone' cannot be imported from 'acme_all:Gone' of acme-all 2.1: AttributeError: "),
        (
            "acme-away",
            "plugin 'acme-away' cannot be imported from 'acme_away' of acme-all 2.1: ModuleNotFoundError: ",
        ),
    ],
)
def test_an_installed_plugin_that_cannot_be_used_says_why_in_one_line(name: str, says: str) -> None:
    with pytest.raises(PluginError) as caught:
        hrpc.with_plugins(name)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_a_dependency_that_cannot_be_used_says_who_needs_it() -> None:
    with pytest.raises(PluginError, match=r"in code, .*; a → b → acme-configured needs it$"):
        a_server(hrpc.with_plugins(Loaded("a", "b"), Loaded("b", "acme-configured")))


def test_a_name_that_is_not_installed_names_those_that_are() -> None:
    with pytest.raises(MissingPlugin) as caught:
        hrpc.with_plugins("acme-qoutes")
    assert str(caught.value).startswith(
        "plugin 'acme-qoutes' is neither given nor installed: pip install acme-qoutes, or pass it to "
        "hrpc.with_plugins; installed are acme-away, acme-configured, "
    )
    assert isinstance(caught.value, OptionError)
    assert (caught.value.path, caught.value.code) == (("acme-qoutes",), 1001)


def test_a_name_in_two_packages_is_an_error(folder: Path) -> None:
    installed(folder, "acme-other", {"acme-prices": "acme_all:Prices"}, "")
    with pytest.raises(PluginError, match="plugin 'acme-prices' is in acme-all and in acme-other: uninstall all but"):
        hrpc.with_plugins("acme-prices")
