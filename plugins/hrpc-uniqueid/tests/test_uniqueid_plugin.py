"""The plugin: what it needs, what it takes, and how it is found."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import hrpc
import hrpc_uniqueid
from hrpc.errors import OptionError, StartError


async def test_the_plugin_needs_consul() -> None:
    made = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_plugins(hrpc_uniqueid.UniqueID()),
    )
    with pytest.raises(StartError, match=r"hrpc-uniqueid: Consul: the server 'shop' has none; pass hrpc.with_consul"):
        async with made:
            pass


@pytest.mark.parametrize("ttl", [9.9, 61, True, "30"])
def test_a_lease_lasts_ten_seconds_to_a_minute(ttl: Any) -> None:
    with pytest.raises(OptionError, match="takes 10 to 60 seconds"):
        hrpc_uniqueid.with_leased_node_id(ttl=ttl)


def test_the_package_offers_itself_as_a_plugin_of_its_name() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["hrpc.plugins"][project["name"]].partition(":")
    assert getattr(import_module(module), name)().name == project["name"] == "hrpc-uniqueid"
