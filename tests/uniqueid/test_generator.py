"""Ids are made of time, node and sequence, and none comes twice: whatever clocks, threads and forks do."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrpc.errors import UniqueIdError
from hrpc.uniqueid import Generator, Grant, Parts, parts
from hrpc.uniqueid.generator import EPOCH, LAST, PER_MILLISECOND

MS = 1_000_000
START = datetime(2026, 5, 1, tzinfo=UTC)


class Clocks:
    """A clock on the wall that a test sets, and one that only goes on; sleeping moves both."""

    def __init__(self) -> None:
        self.wall = int(START.timestamp()) * 1000 * MS
        self.steady = 5 * MS
        self.slept = 0.0

    def generator(self, node: int | None = 7) -> Generator:
        return Generator(
            node,
            wall=lambda: self.wall,
            monotonic=lambda: self.steady,
            clock=lambda: self.steady,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.go_on(round(seconds * 1e9))

    def go_on(self, nanoseconds: int) -> None:
        self.wall += nanoseconds
        self.steady += nanoseconds


def milliseconds(id: int) -> int:
    return id >> 22


def test_an_id_has_the_layout_of_the_go_framework_and_its_parts_can_be_read() -> None:
    clocks = Clocks()
    clocks.go_on(123 * MS)
    first, second = clocks.generator(1023).next_ids(2)
    assert first == (int(START.timestamp()) * 1000 + 123 - 1597472019000) << 22 | 1023 << 12
    assert second == first + 1
    assert parts(second) == Parts(START + timedelta(milliseconds=123), 1023, 1)
    for wrong in (-1, 1 << 63, True, "7"):
        with pytest.raises(ValueError, match="takes an id"):
            parts(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("node", [-1, 1024, 1.0, True])
def test_a_node_id_is_one_of_1024(node: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 1023"):
        Generator(node)  # type: ignore[arg-type]


def test_a_millisecond_has_4096_ids_and_the_next_one_waits_for_the_next_millisecond() -> None:
    clocks = Clocks()
    ids = clocks.generator()
    found = [ids.next_id() for _ in range(PER_MILLISECOND)]
    assert {milliseconds(id) for id in found} == {milliseconds(found[0])}
    assert [parts(id).sequence for id in found] == list(range(PER_MILLISECOND))
    assert clocks.slept == 0
    after = ids.next_id()
    assert clocks.slept == pytest.approx(0.001)
    assert (milliseconds(after), parts(after).node, parts(after).sequence) == (milliseconds(found[0]) + 1, 7, 0)


def test_the_full_rate_is_reached_on_real_clocks() -> None:
    def share() -> int:
        ids = Generator(7).next_ids(40 * PER_MILLISECOND)
        assert ids == sorted(set(ids))
        return Counter(map(milliseconds, ids)).most_common(1)[0][1]

    assert share() == PER_MILLISECOND


def test_many_ids_at_once_are_those_that_come_one_by_one() -> None:
    clocks = Clocks()
    ids = clocks.generator()
    found = [ids.next_id(), *ids.next_ids(5000), ids.next_id()]
    assert found == sorted(set(found))
    assert Counter(map(milliseconds, found)) == {milliseconds(found[0]): 4096, milliseconds(found[0]) + 1: 906}
    assert ids.next_ids(0) == []
    with pytest.raises(ValueError, match="takes 0 or more"):
        ids.next_ids(-1)


@given(st.lists(st.tuples(st.integers(-3600_000, 3600_000), st.integers(0, 3 * MS), st.integers(0, 5000)), max_size=30))
def test_ids_grow_whatever_is_done_to_the_clock_and_none_waits_longer_than_a_moment(
    steps: list[tuple[int, int, int]],
) -> None:
    clocks = Clocks()
    ids = clocks.generator()
    found = [ids.next_id()]
    for step, passes, count in steps:
        clocks.wall += step * MS
        clocks.go_on(passes)
        slept = clocks.slept
        found += ids.next_ids(count)
        assert clocks.slept - slept < 0.004  # 5,000 ids begin three milliseconds at most
    assert all(one < other for one, other in pairwise(found))


def test_after_a_clock_was_set_back_ids_go_on_and_near_it() -> None:
    clocks = Clocks()
    ids = clocks.generator()
    before = ids.next_id()
    clocks.wall -= 60_000 * MS
    clocks.go_on(8 * MS)
    assert milliseconds(ids.next_id()) - milliseconds(before) == 7
    for _ in range(100):
        clocks.go_on(10_000 * MS)
        ids.next_id()
    assert parts(ids.next_id()).time == datetime.fromtimestamp(clocks.wall / 1e9, UTC)


def test_after_a_clock_was_set_ahead_ids_have_the_new_time_within_a_millisecond() -> None:
    clocks = Clocks()
    ids = clocks.generator()
    ids.next_id()
    clocks.wall += 3_600_000 * MS
    clocks.go_on(MS)
    assert parts(ids.next_id()).time == START + timedelta(hours=1, milliseconds=1)


@pytest.mark.parametrize("when", [0, EPOCH - 1, EPOCH + LAST + 1])
def test_a_clock_for_whose_time_there_are_no_ids_is_refused(when: int) -> None:
    clocks = Clocks()
    clocks.wall = when * MS
    with pytest.raises(UniqueIdError, match=r"the clock of this machine says \d{4}.*2020-08-15 to 2090-04-21: set it"):
        clocks.generator().next_id()


def test_a_grant_limits_the_times_of_ids_and_when_they_are_made() -> None:
    clocks, refused = Clocks(), list[None]()
    ids = clocks.generator(None)
    with pytest.raises(UniqueIdError, match="no node id is granted yet"):
        ids.next_id()
    ids.when_refused = lambda: refused.append(None)
    now = int(START.timestamp()) * 1000 - EPOCH
    ids.grant(Grant(3, after=now, until=now + 10, deadline=clocks.steady + 20 * MS))
    assert parts(ids.next_id()).time == START + timedelta(milliseconds=1)  # `now` may have been another's
    clocks.wall += 15 * MS
    clocks.go_on(MS)
    with pytest.raises(UniqueIdError, match=r"has gone ahead to 2026-05-01 00:00:00 UTC, for which node id 3 is not"):
        ids.next_id()
    ids.grant(Grant(3, until=now + 1000, deadline=clocks.steady + 20 * MS))
    assert parts(ids.next_id()).node == 3
    clocks.go_on(20 * MS)
    with pytest.raises(UniqueIdError, match="node id 3 has not been confirmed in time, and may be another's"):
        ids.next_id()
    assert len(refused) == 2
    ids.grant(Grant(4))
    assert parts(ids.next_id()).node == ids.node == 4
    ids.revoke("it is gone")
    for asked in (ids.next_id, lambda: ids.next_ids(3), lambda: ids.node):
        with pytest.raises(UniqueIdError, match="it is gone"):
            asked()


def test_ids_of_a_new_node_are_larger_than_those_of_the_one_before() -> None:
    clocks = Clocks()
    ids = clocks.generator(900)
    first = ids.next_id()
    ids.grant(Grant(2))
    assert ids.next_id() > first


def test_no_thread_gets_the_id_of_another() -> None:
    ids, together = Generator(7), threading.Barrier(4)

    def make() -> list[int]:
        together.wait()
        return [ids.next_id() for _ in range(30_000)] + ids.next_ids(20_000)

    with ThreadPoolExecutor(4) as threads:
        made = [thread.result() for thread in [threads.submit(make) for _ in range(4)]]
    assert all(found == sorted(found) for found in made)
    assert len(set().union(*made)) == 200_000


def test_a_generator_is_revoked_under_threads_that_use_it() -> None:
    ids, running = Generator(7), threading.Semaphore(0)

    def make() -> int:
        running.release()
        while True:
            try:
                ids.next_id()
            except UniqueIdError:
                return time.monotonic_ns()

    with ThreadPoolExecutor(2) as threads:
        made = [threads.submit(make) for _ in range(2)]
        for _ in made:
            running.acquire()
        ids.revoke("it is gone")
        assert all(thread.result() for thread in made)
        with pytest.raises(UniqueIdError, match="it is gone"):
            ids.next_id()


def test_a_forked_process_makes_no_ids_of_the_node_of_its_parent() -> None:
    ids = Generator(7)
    ids.next_id()
    read, write = os.pipe()
    fork = multiprocessing.get_context("fork")

    def child() -> None:
        try:
            said = str(ids.next_id())
        except UniqueIdError as error:
            said = str(error)
        os.write(write, said.encode())

    process = fork.Process(target=child)
    process.start()
    process.join()
    assert b"this process was forked from the one that has the node id" in os.read(read, 1000)
    os.close(read)
    os.close(write)
    assert parts(ids.next_id()).node == 7
