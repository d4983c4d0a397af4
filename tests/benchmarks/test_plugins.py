"""The figures of the plugins are measured, and each target is one of them."""

from __future__ import annotations

import asyncio
import sys

import pytest

from benchmarks.parts import PLUGINS
from benchmarks.plugins import ids, inmemory, rabbitmq
from hrpc.testing.servers import RabbitMQServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark is for Linux")


def test_every_target_is_of_a_table_that_is_measured() -> None:
    assert {target.table for target in PLUGINS.targets} <= PLUGINS.tables.keys()


def test_every_operation_of_a_map_is_measured() -> None:
    found = asyncio.run(inmemory.measured(10))
    assert found.keys() == {inmemory.DICT, inmemory.GET, inmemory.MISS, inmemory.LOADED, inmemory.SET}
    assert all(micros > 0 for of in found.values() for micros in of)


def test_every_consumer_of_rabbitmq_finds_all_messages(rabbitmq_server: RabbitMQServer) -> None:
    login = {name: getattr(rabbitmq_server, name) for name in ("port", "username", "password")}
    found = asyncio.run(rabbitmq.measured({"address": rabbitmq_server.host, **login}, rounds=1, messages=20))
    assert found.keys() == {rabbitmq.BARE, rabbitmq.OURS, rabbitmq.SPANS, rabbitmq.BARE_ONE, rabbitmq.OURS_ONE}
    assert all(rate > 0 for of in found.values() for rate in of)


def test_ids_are_counted_and_compared() -> None:
    found = ids.measured(2_000, processes=2)
    assert found.keys() == {ids.ONE, ids.MANY, ids.ALL}
    assert found[ids.ALL] == [0.0]
    assert all(rate > 0 for name in (ids.ONE, ids.MANY) for rate in found[name])
