"""What plugins for brokers are made of is public."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hrpc
from hrpc.queues import adapter
from tests.server.recorded import LOCAL

PLUGINS = Path(__file__).parents[2] / "plugins"


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
