"""The figures of discovery are measured, and each target is one of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from benchmarks.discovery import calls, changes, lookups, names, pickers, returns
from benchmarks.discovery.targets import TARGETS
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from benchmarks.servers import echo
from hrpc.testing.servers import ConsulServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark is for Linux")

FOUND: Mapping[str, Mapping[str, list[str]]] = {
    "lookups": {lookups.GET: ["µs"]},
    "pickers": {name: [pickers.pick_of(size) for size in pickers.SIZES] for name in pickers.PICKERS},
    "names": {names.followed(Plan.names): [names.START, names.IDLE, names.MEMORY]},
    "changes": {name: [changes.NEARLY_ALL] for name in (changes.ADDED, changes.REMOVED)},
    "channel-one": {calls.OURS_ONE: [calls.RATIO]},
    "channel-three": {calls.OURS_THREE: [calls.RATIO]},
    "returns": {returns.LOST: [returns.LONGEST]},
}


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")


def test_every_target_is_a_figure_of_a_table() -> None:
    tables = [
        Table(key, "", "", tuple(Row(row, dict.fromkeys(columns, Spread(1, 1, 1))) for row, columns in rows.items()))
        for key, rows in FOUND.items()
    ]
    assert all(target.cells(tables) for target in TARGETS)
    assert {target.table for target in TARGETS} == FOUND.keys()


def test_every_picker_is_measured_for_each_size() -> None:
    found = pickers.measured(calls=10)
    assert list(found) == list(pickers.PICKERS)
    assert all(set(FOUND["pickers"][name]) < set(columns) for name, columns in found.items())


async def test_a_change_is_seen_in_both_directions(consul: ConsulServer) -> None:
    found = await changes.measured(consul.address, 4)
    assert [len(millis) for millis in found.values()] == [2, 2]
    assert all(0 <= value < 5000 for millis in found.values() for value in millis)


def test_the_99th_percentile_is_that_of_the_nearest_rank() -> None:
    columns = changes.columns([float(value) for value in range(1, 201)])
    assert columns[changes.NEARLY_ALL].median == 198
    assert columns[changes.LONGEST].median == 200


async def test_names_are_followed_and_found(consul: ConsulServer) -> None:
    await asyncio.to_thread(names.fill, consul.address, 3)
    found = await names.measured(consul.address, 3, idle=0.01)
    assert found["start"] > 0


async def test_every_kind_of_channel_is_measured(consul: ConsulServer) -> None:
    async with _echoing() as a, _echoing() as b, _echoing() as c:
        await asyncio.to_thread(calls.register, consul.address, [a, b, c])
        found = await calls.measured(consul.address, [a, b, c], rounds=1, seconds=0.1)
    assert all(rate > 0 for rates in found.values() for rate in rates)


@asynccontextmanager
async def _echoing() -> AsyncIterator[int]:
    server = grpc.aio.server()
    echo.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)
