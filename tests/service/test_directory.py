"""What a server keeps of the services it has found: one watch for each selection, and not for ever."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

import pytest

import hrpc
from hrpc import service
from hrpc.abc import Selection
from hrpc.errors import ServiceNotFound
from hrpc.option import fold, with_server_name
from hrpc.rpc.outgoing import Outgoing
from hrpc.service import directory as module
from hrpc.service.channels import Channels
from hrpc.service.connections import Connections
from hrpc.service.dialing import Dialer
from hrpc.service.directory import Directory, Wish
from hrpc.testing.servers import ConsulServer
from tests.eventually import eventually
from tests.service.finding import Found, instance
from tests.service.peers import caller


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr("hrpc.service.entry.time", clock)
    return clock


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "MOST_FOLLOWED", 32)
    return 32


@pytest.fixture
def found() -> Found:
    return Found()


@pytest.fixture
async def directory(found: Found) -> AsyncIterator[Directory]:
    settings = fold([with_server_name("caller")], {})
    async with Connections(Dialer(settings)) as connections:
        channels = Channels(settings, connections, Outgoing("caller", None))
        yield Directory(found, channels, "development", "address")


def get(directory: Directory, name: str) -> None:
    directory.get(name, None, None, ())


def users(number: int = 1) -> Selection:
    return Selection(f"users-{number}", ("development",))


async def test_all_ways_to_ask_for_the_same_are_one_watch(directory: Directory, found: Found) -> None:
    found.show(users(), instance("users-1", 1))
    for tag in (None, "development", ("development",), ["development"]):
        assert directory.get("users-1", tag, None, ()).port == 4001
        directory.entry(Wish.of("users-1", tag, None, []))
        assert len(directory.entries) == len(found.watches) == 1


async def test_tags_versions_and_datacenters_are_watches_of_their_own(directory: Directory, found: Found) -> None:
    for wish in (Wish("a"), Wish("a", ""), Wish("a", ("b", "c")), Wish("a", None, "1"), Wish("a", datacenters=("x",))):
        directory.entry(wish)
    assert list(found.watches) == [
        Selection("a", ("development",)),
        Selection("a"),
        Selection("a", ("b", "c")),
        Selection("a", ("development",), "1"),
        Selection("a", ("development",), None, ("x",)),
    ]


async def test_what_is_not_used_for_ten_minutes_is_let_go_and_comes_back_with_its_next_use(
    directory: Directory, found: Found, clock: Clock
) -> None:
    for number in (1, 2):
        found.show(users(number), instance(f"users-{number}", number))
        get(directory, f"users-{number}")
    for _ in range(11):
        clock.now += 60
        get(directory, "users-1")
        directory.tidy()
    assert found.released == [users(2)]
    with pytest.raises(KeyError):  # the next use asks anew
        found.watches[users(2)]
    found.show(users(2), instance("users-2", 7))
    assert directory.get("users-2", None, None, ()).port == 4007


async def test_what_has_a_channel_a_reader_or_was_announced_is_never_let_go(
    directory: Directory, found: Found, clock: Clock
) -> None:
    directory.channel(Wish("users-1"))
    changes = directory.watch(Wish("users-2"))
    directory.entry(Wish("users-3")).kept = True
    directory.entry(Wish("users-4"))
    for _ in range(2):
        clock.now += 3600
        directory.tidy()
    assert found.released == [users(4)]
    del changes
    gc.collect()
    clock.now += 3600
    directory.tidy()
    assert found.released == [users(4), users(2)]


async def test_the_number_of_watches_has_a_bound_and_the_longest_unused_go_first(
    directory: Directory, found: Found, clock: Clock, few: int
) -> None:
    for number in range(few):
        found.show(users(number), instance(f"users-{number}", number))
        get(directory, f"users-{number}")
        clock.now += 1
        directory.tidy()
    get(directory, "users-0")
    clock.now += 1
    found.show(users(few), instance(f"users-{few}", few))
    get(directory, f"users-{few}")
    directory.tidy()
    assert len(directory.entries) <= few
    assert found.released[0] == users(1)
    assert users(0) not in found.released
    assert users(few) not in found.released
    for number in range(1000):
        directory.entry(Wish(f"more-{number}"))
        directory.tidy()
        assert len(found.watches) == len(directory.entries) <= few
    assert len(directory._wishes) <= few


async def test_more_than_the_bound_that_have_to_stay_are_told_once(
    directory: Directory, few: int, capsys: pytest.CaptureFixture[str]
) -> None:
    from loguru import logger

    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    for number in range(few + 3):
        directory.entry(Wish(f"users-{number}")).kept = True
        directory.tidy()
    logger.remove(sink)
    assert lines == [f"{few + 1} selections of services are followed, each by a connection to Consul\n"]


async def test_names_that_lead_elsewhere_are_not_found(directory: Directory) -> None:
    for name in ("", ".", "..", "a/b", "../agent/leave"):
        with pytest.raises(ServiceNotFound, match="not the name of a service"):
            directory.entry(Wish(name))


async def test_the_services_are_those_that_have_the_tag(directory: Directory, found: Found) -> None:
    for selection in (users(1), Selection("others", ("production", "a")), Selection("bare")):
        found.show(selection)
    assert await directory.names(None) == {"users-1": ("development",)}
    assert await directory.names(("a", "production")) == {"others": ("a", "production")}
    assert list(await directory.names("")) == ["bare", "others", "users-1"]


async def test_a_running_server_ends_the_watch_of_what_it_does_not_use(
    consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_LIMIT", 0.05)
    async with caller(consul, hrpc.with_upstreams("kept")) as server:
        with pytest.raises(ServiceNotFound):
            service.get("dropped")
        assert server._running is not None
        client = server._running.parts.consul
        assert client is not None

        async def only_one() -> bool:
            return list(client._watches) == list(client._running) == [Selection("kept", ("development",))]

        await eventually(only_one)
        assert len(client._watches) == 1
        with pytest.raises(ServiceNotFound):
            service.get("dropped")
