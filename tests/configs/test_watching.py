"""Handlers of changes: called for each change and only then, one at a time, whatever the others do."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hrpc
from hrpc import _runtime, configs
from hrpc.configs.center import Configs
from hrpc.configs.watching import Watching
from hrpc.errors import ConsulUnreachable, InvalidConfig
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.configs.store import Store
from tests.eventually import eventually


def center(store: Store) -> Configs:
    return Configs(store, "test", "orders")


async def settled() -> None:
    """All that is ready to run has run: handlers of these tests wait for nothing of the system."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_handler_is_called_with_each_new_value_and_not_with_the_one_of_now() -> None:
    store, seen = Store(limit="1"), []
    center_ = center(store)

    async def handler(value: int | None) -> None:
        seen.append(value)

    async with center_.delivering():
        center_.watch(Watching("limit", False, handler, int))
        await settled()
        assert seen == []
        for text, expected in [("2", [2]), (" 2 ", [2]), ("x", [2]), ("3", [2, 3]), (None, [2, 3, None])]:
            store.put("limit", text)
            await settled()
            assert seen == expected, text
    store.put("limit", "9")
    await settled()
    assert seen == [2, 3, None], "not after the end"


async def test_a_failing_handler_stops_neither_the_others_nor_later_changes(logged: list[str]) -> None:
    store, seen = Store(limit="1"), []
    center_ = center(store)

    async def failing(value: str) -> None:
        seen.append(f"failing {value}")
        raise RuntimeError("no")

    async def handler(value: str) -> None:
        seen.append(value)

    async with center_.delivering():
        center_.watch(Watching("limit", False, failing, str))
        center_.watch(Watching("limit", False, handler, str))
        for text in ("2", "3"):
            store.put("limit", text)
            await settled()
    assert sorted(seen) == ["2", "3", "failing 2", "failing 3"]
    assert center_.failures() == {"test/limit": 2}
    assert sum("failing of key 'test/limit' failed" in line for line in logged) == 2


async def test_a_handler_refuses_a_value_in_one_line(logged: list[str]) -> None:
    store = Store(limit="1")
    center_ = center(store)

    async def handler(value: str) -> None:
        raise InvalidConfig.because("key 'test/limit'", "share", "is above 1")

    async with center_.delivering():
        center_.watch(Watching("limit", False, handler, str))
        store.put("limit", "2")
        await settled()
    assert logged == ["ERROR key 'test/limit': field 'share': is above 1; the value before it is kept"]
    assert (center_.refused(), center_.failures()) == ({"test/limit": 1}, {"test/limit": 0})


async def test_a_slow_handler_is_not_called_twice_at_once_and_then_has_the_newest() -> None:
    store, seen = Store(limit="0"), []
    center_ = center(store)
    go_on = asyncio.Semaphore(0)

    async def slow(value: int) -> None:
        seen.append(("begins", value))
        await go_on.acquire()
        seen.append(("ends", value))

    async with center_.delivering():
        center_.watch(Watching("limit", False, slow, int))
        for number in range(1, 6):
            store.put("limit", str(number))
            await settled()
        go_on.release()
        await settled()
        store.put("limit", "6")
        store.put("limit", "5")  # what it has already
        go_on.release()
        await settled()
    assert seen == [("begins", 1), ("ends", 1), ("begins", 5), ("ends", 5)]


async def test_a_cancelled_handler_is_called_no_more_and_leaves_nothing_behind() -> None:
    store, seen = Store(limit="0"), []
    center_ = center(store)

    async def handler(value: int) -> None:
        seen.append(value)

    async with center_.delivering():
        with Watching("limit", False, handler, int) as watching:
            center_.watch(watching)
            store.put("limit", "1")
            await settled()
        store.put("limit", "2")
        await settled()
        assert seen == [1]
        assert center_._keys["test/limit"].callbacks == []


async def test_a_value_that_consul_did_not_tell_at_first_is_a_change() -> None:
    store, seen = Store(limit="1"), []
    store.away = ConsulUnreachable("no answer")
    center_ = center(store)

    async def handler(value: int) -> None:
        seen.append(value)

    async with center_.delivering():
        center_.watch(Watching("limit", False, handler, int))
        store.put("limit", "1")
        await settled()
    assert seen == [1]


async def test_a_sync_handler_runs_in_a_thread_that_may_block() -> None:
    store, seen = Store(limit="1"), asyncio.Queue[Any]()
    center_, loop = center(store), asyncio.get_running_loop()

    def handler(value: int) -> None:
        loop.call_soon_threadsafe(seen.put_nowait, (value, threading.current_thread() is threading.main_thread()))

    async with center_.delivering():
        center_.watch(Watching("limit", False, handler, int))
        store.put("limit", "2")
        assert await seen.get() == (2, False)


@given(st.lists(st.sampled_from(["1", "2", "x", None]), max_size=10), st.integers(0, 10))
def test_whatever_changes_each_call_differs_from_the_one_before_and_the_last_is_the_newest(
    texts: list[str | None], at_once: int
) -> None:
    async def run() -> None:
        store, seen = Store(limit="0"), []
        center_ = center(store)

        async def handler(value: int | None) -> None:
            seen.append(value)

        async with center_.delivering():
            center_.watch(Watching("limit", False, handler, int))
            for number, text in enumerate(texts):
                store.put("limit", text)
                if number >= at_once:
                    await settled()
            await settled()
        good: list[int | None] = [0, *(None if text is None else int(text) for text in texts if text != "x")]
        known = [0, *seen]
        assert known[-1] == good[-1]
        assert all(before != after for before, after in itertools.pairwise(known))

    asyncio.run(run())


def test_a_name_that_is_no_key_is_refused_where_it_is_given() -> None:
    with pytest.raises(ValueError, match="is not a key"):
        configs.watch("../other", print)
    assert _runtime.early_config_watches == []


def server(consul: ConsulServer, prefix: str) -> hrpc.Server:
    return hrpc.new_server(
        hrpc.with_server_name("watcher"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(hrpc.Consul(address=consul.address, prefix=prefix)),
        hrpc.with_graceful_stop(drain_delay=0),
    )


async def test_a_handler_of_import_is_called_in_every_life_and_one_of_a_life_in_it(consul: ConsulServer) -> None:
    early: list[object] = []
    late: list[object] = []

    async def on_early(value: object) -> None:
        assert hrpc.configs.get("watched/limit", int) == value
        early.append(value)

    watching = configs.watch("watched/limit", on_early, int)
    assert _runtime.early_config_watches == [watching]
    for life in (1, 2):
        async with server(consul, "watch-test"):
            assert configs.swatch("own", late.append).own
            await configs.set("watched/limit", f"{life}0")
            await agent.store(consul.address, "watch-test/services/watcher/own", f"own {life}")

            async def both(life: int = life) -> bool:
                return early[-1:] == [life * 10] and late[-1:] == [f"own {life}"]

            await eventually(both)
    watching.cancel()
    assert (early, late) == ([10, 20], ["own 1", "own 2"])
    assert _runtime.early_config_watches == []


async def test_a_value_that_was_set_does_not_go_back_to_the_one_before(consul: ConsulServer) -> None:
    seen: list[int] = []
    async with server(consul, "watch-set"):
        await configs.set("limit", "0")
        configs.watch("limit", seen.append, int)
        for number in range(1, 101):
            await configs.set("limit", str(number))
            assert configs.get("limit", int) == number

        async def told() -> bool:
            return seen[-1] == 100

        await eventually(told)
    assert seen == sorted(seen)


async def test_what_a_server_refuses_and_what_fails_is_in_its_metrics(consul: ConsulServer) -> None:
    def failing(value: object) -> None:
        raise RuntimeError("no")

    async with server(consul, "watch-metrics") as running:
        await configs.set("limit", "1")
        assert configs.get("limit", int) == 1
        configs.watch("limit", failing)
        await configs.set("limit", "one")
        assert configs.get("limit", int) == 1
        assert running._running is not None
        known = running._running.parts.configs
        assert known is not None

        async def counted() -> bool:
            return known.refused() == known.failures() == {"watch-metrics/limit": 1}

        await eventually(counted)
