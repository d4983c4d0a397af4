"""Entries of a map: how long they live, which of them make room, and what is counted."""

from __future__ import annotations

import gc
import itertools
import math
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrpc.errors import OptionError
from hrpc_inmemory import Map
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_entry_is_there_until_its_life_is_over(clock: Clock) -> None:
    users: Map[int, str] = Map("users", max_life=10, clock=clock)
    users.set(1, "Ada")
    users.set(2, "Bob", max_life=20)
    users.set(3, "Cid", max_life=math.inf)
    clock.now += 9.9
    assert [users.get(key) for key in (1, 2, 3, 4)] == ["Ada", "Bob", "Cid", None]
    clock.now += 0.1
    assert 1 not in users
    assert users.get(1, "nobody") == "nobody"
    assert users.items() == [(2, "Bob"), (3, "Cid")]
    clock.now += 1e9
    assert users.items() == [(3, "Cid")]


def test_without_a_life_entries_stay_until_they_are_deleted(clock: Clock) -> None:
    users: Map[int, str] = Map("users", clock=clock)
    users.set(1, "Ada")
    clock.now += 1e9
    assert users.get(1) == "Ada"
    assert users.delete(1)
    assert not users.delete(1)
    users.set(1, "Ada")
    users.set(2, "Bob")
    users.clear()
    assert len(users) == users.statistics().size == 0
    assert users.get(1) is None


def test_another_value_has_a_life_of_its_own(clock: Clock) -> None:
    users: Map[int, str] = Map("users", max_life=10, clock=clock)
    users.set(1, "Ada")
    clock.now += 6
    users.set(1, "Eve")
    clock.now += 6
    users.set(2, "Bob")  # takes out what is over
    assert users.get(1) == "Eve"
    assert users.statistics().expirations == 0


def test_what_was_not_used_for_longest_makes_room(clock: Clock) -> None:
    users: Map[int, str] = Map("users", max_size=2, clock=clock)
    users.set(1, "Ada")
    users.set(2, "Bob")
    assert users.get(1) == "Ada"
    users.set(3, "Cid")
    assert users.items() == [(1, "Ada"), (3, "Cid")]
    users.set(1, "Eve")
    users.set(4, "Dan")
    assert users.items() == [(1, "Eve"), (4, "Dan")]
    assert users.statistics().evictions == 2


def test_entries_may_weigh_and_one_that_is_too_heavy_is_not_kept(clock: Clock) -> None:
    pages: Map[str, bytes] = Map("pages", max_size=10, weigh=lambda _, page: len(page), clock=clock)
    pages.set("a", b"1234")
    pages.set("b", b"1234")
    pages.set("c", b"12")
    assert pages.statistics().size == 10
    pages.set("b", b"12345")
    assert pages.items() == [("c", b"12"), ("b", b"12345")]
    pages.set("b", b"12345678901")
    assert pages.items() == [("c", b"12")]
    assert pages.statistics()._asdict() | {"evictions": 2, "entries": 1, "size": 2} == pages.statistics()._asdict()
    broken: Map[str, bytes] = Map("broken", max_size=10, weigh=lambda *_: -1)
    with pytest.raises(ValueError, match=r"hrpc_inmemory.Map\('broken'\): weigh has given -1: it has to give a whole"):
        broken.set("a", b"")


def test_reads_and_what_becomes_of_entries_are_counted(clock: Clock) -> None:
    users: Map[int, str] = Map("users", max_life=10, max_size=2, clock=clock)
    for key in (1, 2, 3):
        users.set(key, "x")
    for key in (1, 2, 3, 3):
        users.get(key)
    clock.now += 10
    users.get(3)
    found = users.statistics()
    assert (found.hits, found.misses, found.evictions, found.expirations, found.entries) == (3, 2, 1, 2, 0)


def test_what_is_over_is_freed_by_whatever_comes_next(clock: Clock) -> None:
    class Value: ...

    values: Map[object, Any] = Map("values", max_life=10, clock=clock)
    for use in (lambda: values.set("other", 1), lambda: values.get("a"), lambda: len(values)):
        value = Value()
        freed = weakref.ref(value)
        values.set("a", value)
        del value
        clock.now += 10
        use()
        gc.collect()
        assert freed() is None


def test_nothing_is_left_behind_of_what_is_replaced_evicted_or_deleted(clock: Clock) -> None:
    users: Map[int, int] = Map("users", max_life=1e6, max_size=100, clock=clock)
    for number in range(20_000):
        users.set(number % 3, number)
        users.set(number, number)
        users.delete(number)
        users.set(-number, number)
    assert len(users) == 100
    assert len(users._entries._ends) <= 2 * 100 + 64 + 1


operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 6), st.sampled_from([None, 1.0, 5.0, math.inf])),
        st.tuples(st.sampled_from(["get", "delete"]), st.integers(0, 6), st.none()),
        st.tuples(st.just("pass"), st.integers(0, 6), st.none()),
    ),
    max_size=60,
)


@given(operations, st.sampled_from([None, 1, 3]))
def test_it_is_a_dict_whose_entries_end_and_make_room(
    todo: list[tuple[str, int, float | None]], max_size: int | None
) -> None:
    clock = Clock()
    found: Map[int, int] = Map("found", max_life=3.0, max_size=max_size, clock=clock)
    model: dict[int, tuple[int, float]] = {}  # the one used last at the end
    for number, (what, key, life) in enumerate(todo):
        model = {known: entry for known, entry in model.items() if entry[1] > clock.now}
        if what == "set":
            model.pop(key, None)
            model[key] = number, clock.now + (3.0 if life is None else life)
            if max_size is not None and len(model) > max_size:
                del model[next(iter(model))]
            found.set(key, number, max_life=life)
        elif what == "get":
            entry = model.pop(key, None)
            if entry is not None:
                model[key] = entry
            assert found.get(key) == (None if entry is None else entry[0])
        elif what == "delete":
            assert found.delete(key) == (model.pop(key, None) is not None)
        else:
            clock.now += key
        expected = [(known, value) for known, (value, ends) in model.items() if ends > clock.now]
        assert found.items() == expected
        assert len(found) == found.statistics().size == len(expected)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns a hundred times as often as usual."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    yield
    sys.setswitchinterval(interval)


@dataclass(frozen=True)
class Key:
    """One that is compared in Python, in which another thread may have its turn."""

    number: int


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("kind", [int, Key])
def test_threads_read_while_others_write(kind: Callable[[int], Any]) -> None:
    found: Map[Any, Any] = Map("found", max_life=0.001, max_size=50)
    was_read, over = threading.Event(), threading.Event()

    def writes(seed: int) -> None:
        # On a busy machine, those who read may have no turn before all of it has ended.
        for number in itertools.takewhile(lambda number: number < 2_000 or not was_read.is_set(), itertools.count()):
            key = kind((number * seed) % 100)
            found.set(key, key)
            if not number % 7:
                found.delete(key)

    def reads() -> int:
        count = 0
        while not over.is_set():
            for key in map(kind, range(100)):
                value = found.get(key)
                assert value in (None, key)
                count += value is not None
            if count:
                was_read.set()
            assert all(key == value for key, value in found.items())
        return count

    with ThreadPoolExecutor(8) as threads:
        reading = [threads.submit(reads) for _ in range(2)]
        writing = [threads.submit(writes, seed) for seed in (1, 7, 13)]
        for each in writing:
            each.result()
        over.set()
        assert sum(each.result() for each in reading) > 0
    assert len(found) <= 50
    assert found.statistics().size == len(found._by_use)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": ""}, r"Map\(''\): takes a name, which metrics and errors say"),
        ({"max_life": 0}, "max_life=0: takes seconds above 0"),
        ({"max_life": True}, "max_life=True: takes seconds"),
        ({"stale": -1}, "stale=-1: takes seconds"),
        ({"stale": None}, "stale=None: takes seconds"),
        ({"keep_errors": math.nan}, "keep_errors=nan: takes seconds"),
        ({"keep_errors": ""}, "keep_errors='': takes seconds"),
        ({"load_limit": "1"}, "load_limit='1': takes seconds"),
        ({"max_size": 0}, "max_size=0: takes a whole number above 0"),
        ({"weigh": len}, "weigh is of use with max_size only"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Map(**({"name": "users"} | settings))
