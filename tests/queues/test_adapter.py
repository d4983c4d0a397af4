"""What plugins for brokers are made of is public."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import hrpc
from hrpc.errors import OptionError
from hrpc.queues import Recipe, adapter, new_recipe
from hrpc.queues.adapter import SERVERS, Settings, Slots, setting
from tests.server.recorded import LOCAL

PLUGINS = Path(__file__).parents[2] / "plugins"

pigeons: Slots[Any] = Slots("pigeons", "hrpc.with_message_queues(pigeons.new({}))")


@dataclass(frozen=True, slots=True)
class PigeonSettings(Settings):
    lofts: str = setting(SERVERS)


def never(settings: PigeonSettings) -> Any:
    raise AssertionError("a recipe connects to nothing")


@pytest.mark.parametrize("plugin", ["hrpc-kafka", "hrpc-rabbitmq", "hrpc-mongodb"])
def test_plugins_need_no_private_module(plugin: str) -> None:
    files = sorted((PLUGINS / plugin).glob("hrpc_*/*.py"))
    assert files
    for file in files:
        private = re.findall(
            r"^\s*(?:from|import) hrpc(?:\.\w+)*(?:\._\w+| import .*\b_\w+).*$", file.read_text(), re.M
        )
        assert private == [], file


async def test_a_client_is_called_as_its_server() -> None:
    assert adapter.server_name() == "hrpc"
    async with hrpc.new_server(hrpc.with_server_name("billing"), LOCAL):
        assert adapter.server_name() == "billing"


def test_mistakes_in_the_recipe_of_a_broker_are_told_where_it_is_made() -> None:
    def new(*subscriptions: Any, name: str | None = None, **settings: Any) -> Recipe[PigeonSettings]:
        return new_recipe(pigeons, name, PigeonSettings, settings, subscriptions, never, address="lofts")

    assert new(lofts="a").origin == "pigeons.new()"
    assert not new(lofts="a").needs_settings
    assert new(name="second").needs_settings
    with pytest.raises(OptionError, match=r"^pigeons\.new\(name='server'\): means something else in probes"):
        new(name="server")
    with pytest.raises(OptionError, match=r"^pigeons\.new\(name='a b'\): takes a name of at most 63 letters"):
        new(name="a b")
    with pytest.raises(OptionError, match=r"^pigeons\.new\(name='second'\): takes pigeons\.consume\(…\), not 7"):
        new(7, name="second")
    with pytest.raises(OptionError, match=r"^pigeons\.new\(\): there is no setting 'loft'; the settings are lofts"):
        new(loft=None)
