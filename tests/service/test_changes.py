"""The changes of a service, one after the other: `service.watch`."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrpc import service
from hrpc.abc import Instance, Selection
from hrpc.consul import Client
from hrpc.service.changes import Changes, difference
from hrpc.service.entry import Entry
from hrpc.testing.servers import ConsulServer
from tests.service.finding import Found, instance
from tests.service.peers import caller, entry

A, B, C = (instance("users", number) for number in (1, 2, 3))
USERS = Selection("users")


@pytest.fixture
async def found() -> Found:
    return Found()


def changes(found: Found) -> Changes:
    return Changes(Entry(found, USERS, by_name=False))


async def test_the_first_change_is_what_there_is_and_waits_for_the_registry(found: Found) -> None:
    watching = changes(found)
    first = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    assert not first.done()
    found.show(USERS, A, B)
    assert await first == ((A, B), (A, B), (), ())


async def test_nothing_that_there_is_not_is_a_change_only_as_the_first(found: Found) -> None:
    watching = changes(found)
    found.show(USERS)
    assert await anext(watching) == ((), (), (), ())
    later = asyncio.ensure_future(anext(watching))
    found.show(USERS)
    await asyncio.sleep(0)
    assert not later.done()
    found.show(USERS, A)
    assert (await later).added == (A,)


async def test_a_slow_reader_gets_several_changes_as_one_and_the_newest_state(found: Found) -> None:
    watching = changes(found)
    found.show(USERS, A, B)
    await anext(watching)
    heavier = instance("users", 2, weight=9)
    for shown in ((A,), (A, C), (heavier, C)):
        found.show(USERS, *shown)
    assert await anext(watching) == ((heavier, C), (C,), (A,), (heavier,))


async def test_what_has_come_back_before_it_was_looked_at_is_no_change(found: Found) -> None:
    watching = changes(found)
    found.show(USERS, A, B)
    await anext(watching)
    later = asyncio.ensure_future(anext(watching))
    found.show(USERS, A)
    found.show(USERS, A, B)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not later.done()
    found.show(USERS, B)
    assert (await later).removed == (A,)


async def test_an_instance_with_another_address_is_another_instance() -> None:
    moved = Instance("users-1", "users", "127.0.0.1", 4999)
    assert difference([A], (moved,)) == ((moved,), (moved,), (A,), ())


@given(st.lists(st.sets(st.tuples(st.integers(0, 5), st.integers(1, 3))), min_size=1), st.data())
def test_the_changes_that_a_reader_sees_add_up_to_the_newest_state(
    states: list[set[tuple[int, int]]], data: st.DataObject
) -> None:
    """Whichever of the states a reader is too slow to see."""
    mine: dict[str, Instance] = {}
    before: tuple[Instance, ...] = ()
    for number, state in enumerate(states):
        if number + 1 < len(states) and data.draw(st.booleans()):
            continue  # not seen
        weights = dict(sorted(state))
        now = tuple(instance("users", each, weight=weight) for each, weight in weights.items())
        change = difference(before, now)
        for each in change.removed:
            del mine[each.id]
        for each in (*change.added, *change.changed):
            mine[each.id] = each
        assert not {each.id for each in change.added} & {each.id for each in (*change.removed, *change.changed)}
        before = now
    assert mine == {each.id: each for each in before}


async def test_the_changes_of_a_service_in_consul(consul: ConsulServer, registry: Client) -> None:
    async with caller(consul), asyncio.timeout(20):
        watching = service.watch("watched")
        assert (await anext(watching)).instances == ()
        first = registry.registered(entry("watched", 1, 4001))
        async with registry.registered(entry("watched", 2, 4002, version="2", zone="b")):
            (added,) = (await anext(watching)).added
            assert (added.port, added.version, added.zone, added.datacenter) == (4002, "2", "b", "dc1")
            async with first:
                assert [each.port for each in (await anext(watching)).added] == [4001]
            assert [each.port for each in (await anext(watching)).removed] == [4001]


async def test_the_services_in_consul_are_listed_with_their_tags(consul: ConsulServer, registry: Client) -> None:
    async with (
        caller(consul),
        registry.registered(entry("listed", 1, 4001)),
        registry.registered(entry("listed-elsewhere", 1, 4001, tag="production")),
    ):
        found = await service.list()
        assert found["listed"] == ("development",)
        assert "listed-elsewhere" not in found
        assert (await service.list("production"))["listed-elsewhere"] == ("production",)
        assert "consul" in await service.list("")


async def test_a_version_is_selected(consul: ConsulServer, registry: Client) -> None:
    async with (
        caller(consul),
        registry.registered(entry("versioned", 1, 4001, version="1.9")),
        registry.registered(entry("versioned", 2, 4002, version="2.0")),
        registry.registered(entry("versioned", 3, 4003)),
    ):
        assert service.get("versioned", version="2.0").port == 4002
        await service.ready("versioned", version="1.9")
        assert {service.get("versioned", version="1.9").port for _ in range(4)} == {4001}
