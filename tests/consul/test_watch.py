"""Watching a value in Consul: the rules for indexes, errors and empty answers, against a scripted source."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger

from hrpc.abc import Selection
from hrpc.consul import connect, watch
from hrpc.consul.watch import Watch, backoff
from hrpc.errors import ConsulUnreachable
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.eventually import eventually
from tests.service.peers import entry

Answer = tuple[int, tuple[str, ...]] | Exception


class Script:
    """Answers queries one after the other, then holds the next one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[int | None] = []
        self.waits: list[float] = []
        self.exhausted = asyncio.Event()

    async def query(self, index: int | None, wait: float) -> tuple[int, tuple[str, ...]]:
        self.asked.append(index)
        self.waits.append(wait)
        if not self._answers:
            self.exhausted.set()
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def watched(script: Script, hold: float = 0.0) -> AsyncIterator[Watch[tuple[str, ...]]]:
    watching: Watch[tuple[str, ...]] = Watch("service 'a'", script.query, (), hold)
    async with running(watching):
        yield watching


@asynccontextmanager
async def running(watching: Watch[tuple[str, ...]]) -> AsyncIterator[None]:
    task = asyncio.create_task(watching.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(watch, "_LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(watch, "_SHORTEST_ROUND", 0.001)


@pytest.mark.parametrize(
    ("answers", "indexes"),
    [
        ([(7, ("old",)), (9, ("newer",))], [None, 5, 5, 9]),  # from before the write, or after it: asked again
        ([(7, ("stored",)), (9, ("newer",))], [None, 5, 7, 9]),
        ([(2, ("old",)), (3, ("newer",))], [None, 5, None, 3]),
    ],
)
async def test_what_was_asked_before_a_write_does_not_hide_what_was_written(
    answers: list[Answer], indexes: list[int | None]
) -> None:
    script, seen, asked, goes_on = Script((5, ("first",)), *answers), [], asyncio.Event(), asyncio.Event()

    async def query(index: int | None, wait: float) -> tuple[int, tuple[str, ...]]:
        if len(script.asked) == 1:
            asked.set()
            await goes_on.wait()
        return await script.query(index, wait)

    watching: Watch[tuple[str, ...]] = Watch("key 'a'", query, ())
    watching.on_change(lambda: seen.append(watching.value))
    async with running(watching):
        await asyncio.wait_for(asked.wait(), 20)
        watching.accept(("stored",))
        goes_on.set()
        await asyncio.wait_for(script.exhausted.wait(), 20)
    assert seen == [("first",), ("stored",), ("newer",)]
    assert script.asked == indexes


async def test_a_write_does_not_hide_one_of_somebody_else_that_came_after_it(
    consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(Consul(address=consul.address)) as client:
        watching, kv = client.watch("overtaken/key"), client._queries.api.kv
        await watching.ready(20)
        put = kv.put

        async def overtaken(key: str, value: bytes) -> bool:
            done: bool = await put(key, value)
            await agent.store(consul.address, key, "theirs")

            async def is_seen() -> bool:
                return watching.value == b"theirs"

            await eventually(is_seen)
            return done

        monkeypatch.setattr(kv, "put", overtaken)
        await client.write("overtaken/key", b"ours")
        assert watching.value == b"theirs"


async def test_each_answer_gives_the_index_of_the_next_query() -> None:
    script = Script((5, ("a",)), (9, ("a", "b")))
    async with watched(script) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 20)
        assert script.asked == [None, 5, 9]
        assert watching.value == ("a", "b")
        assert watching.known
        assert watching.age() < 5


async def test_an_index_that_goes_backwards_or_is_not_above_zero_starts_again() -> None:
    script = Script((9, ("a",)), (4, ("b",)), (7, ("c",)), (0, ("d",)), (-1, ("e",)))
    async with watched(script) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 20)
        assert script.asked == [None, 9, None, 7, None, None]
        assert watching.value == ("e",)


@pytest.mark.parametrize("answer", [(0, ("a",)), (-4, ("a",)), (8, ("a",))])
async def test_a_source_that_never_holds_a_query_is_asked_less_and_less_often(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something between that keeps answers, or takes the index away: with a thousand names it would be a flood."""
    pauses: list[int] = []

    def paused(failures: int) -> float:
        pauses.append(failures)
        return 0.0

    monkeypatch.setattr(watch, "backoff", paused)
    monkeypatch.setattr(watch, "_AT_ONCE", 20.0)
    script = Script(*[answer] * 8, (9, ("b",)))
    async with watched(script) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 20)
        assert watching.value == ("b",)
    assert pauses in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6])


ANSWERS = st.one_of(
    st.just(ConsulUnreachable("away")),
    st.tuples(st.integers(-3, 12), st.lists(st.sampled_from("abc"), unique=True).map(tuple)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(ANSWERS, max_size=12))
def test_whatever_consul_numbers_its_answers_with_a_query_never_waits_for_what_cannot_come(
    answers: list[Answer],
) -> None:
    """An index is above 0, and that of the answer before; else the query is one that is answered at once."""
    script = Script(*answers)

    async def follow() -> None:
        async with watched(script) as watching:
            await asyncio.wait_for(script.exhausted.wait(), 20)
            values = [answer[1] for answer in answers if isinstance(answer, tuple)]
            assert watching.value == (values[-1] if values else ())
            assert watching.known == bool(values)
            failed = bool(answers) and isinstance(answers[-1], Exception)
            assert (watching.report().error is not None) == failed
            assert watching.report().index == script.asked[-1]

    asyncio.run(follow())
    assert script.asked[0] is None
    for asked, answer, following in zip(script.asked, answers, script.asked[1:], strict=False):
        if isinstance(answer, Exception) or answer[0] < max(1, asked or 0):
            assert following is None
        else:
            assert following == answer[0] > 0


async def test_a_source_that_wakes_its_queries_all_the_time_is_asked_fifty_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "_SHORTEST_ROUND", 0.02)
    script = Script(*[(index, ("a",)) for index in range(1, 11)])
    began = time.monotonic()
    async with watched(script):
        await asyncio.wait_for(script.exhausted.wait(), 20)
    assert time.monotonic() - began >= 10 * 0.02


async def test_an_idle_watch_outlives_the_limit_of_a_request_and_logs_nothing(
    consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consul holds each query for the wait and up to a sixteenth of it: longer than a request may take elsewhere."""
    monkeypatch.setattr(watch, "LONGEST_WAIT", 2.5)
    lines: list[str] = []
    answers = 0
    enough = asyncio.Event()

    def answered() -> None:
        nonlocal answers
        answers += 1
        if answers == 2:
            enough.set()

    async with connect(Consul(address=consul.address, timeout=2.0)) as client:
        async with client.registered(entry("idle", 1, 4001)):
            watching = client._instances("idle", Selection("idle"))
            await watching.ready(20)
            sink = logger.add(lines.append)
            watching.on_round(answered)
            began = time.monotonic()
            await asyncio.wait_for(enough.wait(), 20)
            assert time.monotonic() - began > 2.5
            assert watching.age() < time.monotonic() - began
            assert watching.report().changes == 1
            logger.remove(sink)
    assert not lines


async def test_a_watch_that_begins_while_consul_is_away_heals_and_so_does_one_that_has_lost_it(
    own_consul: ConsulServer,
) -> None:
    async with connect(Consul(address=own_consul.address)) as client, asyncio.timeout(60):
        before = client.instances(Selection("healing"))
        await before.ready(20)
        await asyncio.to_thread(own_consul.kill)
        during = client.instances(Selection("healing", ("development",)))
        with pytest.raises(ConsulUnreachable):
            await during.ready(0.5)

        async def is_told() -> bool:
            return during.report().error is not None

        await eventually(is_told)
        await asyncio.to_thread(own_consul.start)
        async with client.registered(entry("healing", 1, 4001)):
            for watching in (before, during):
                changed = asyncio.Event()
                watching.on_change(changed.set)
                while not watching.value:
                    await changed.wait()
                    changed.clear()
                assert watching.report().error is None


async def test_an_error_starts_again_without_an_index_and_never_ends_the_watch() -> None:
    away = ConsulUnreachable("away")
    script = Script(*[away] * 20, (3, ("a",)), away, (2, ("b",)))
    async with watched(script) as watching:
        with pytest.raises(ConsulUnreachable, match="away"):
            await watching.ready(0.0001)
        await watching.ready(20)
        assert watching.value in (("a",), ("b",))
        await asyncio.wait_for(script.exhausted.wait(), 20)
        assert script.asked[-3:] == [3, None, 2]
        assert watching.value == ("b",)


async def test_a_sudden_empty_answer_is_held_and_then_shown() -> None:
    script = Script((1, ("a",)), (2, ()), (3, ()))
    async with watched(script, hold=30) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 20)
        assert watching.value == ("a",)
        assert script.waits[-1] <= 30
    script = Script((1, ("a",)), (2, ()), *[(3, ())] * 60)
    async with watched(script, hold=0.02) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 20)
        assert watching.value == ()


async def test_an_empty_answer_that_is_the_first_is_shown_at_once() -> None:
    script = Script((1, ()))
    async with watched(script, hold=30) as watching:
        await watching.ready(20)
        assert watching.known
        assert watching.value == ()


async def test_a_list_that_comes_back_while_it_is_held_never_looked_empty() -> None:
    seen: list[tuple[str, ...]] = []
    script = Script((1, ("a",)), (2, ()), (3, ("a",)), (4, ("b",)))
    async with watched(script, hold=30) as watching:
        watching.on_change(lambda: seen.append(watching.value))
        await asyncio.wait_for(script.exhausted.wait(), 20)
    assert seen == [("a",), ("b",)]


async def test_callbacks_come_only_for_changes() -> None:
    changes: list[object] = []
    script = Script((1, ("a",)), (2, ("a",)), (3, ("b",)))
    async with watched(script) as watching:
        watching.on_change(lambda: changes.append(watching.value))
        await asyncio.wait_for(script.exhausted.wait(), 20)
    assert changes == [("a",), ("b",)]


def test_the_pause_after_errors_grows_to_a_second_with_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pauses = [backoff(100) for _ in range(200)]
    assert 0.5 <= min(pauses) < max(pauses) <= 1.0
