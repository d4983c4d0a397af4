"""Watching a value in Consul: the rules for indexes, errors and empty answers, against a scripted source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hrpc.consul import watch
from hrpc.consul.watch import Watch, backoff
from hrpc.errors import ConsulUnreachable

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
    task = asyncio.create_task(watching.run())
    try:
        yield watching
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(watch, "_LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(watch, "_SHORTEST_ROUND", 0.001)


async def test_each_answer_gives_the_index_of_the_next_query() -> None:
    script = Script((5, ("a",)), (9, ("a", "b")))
    async with watched(script) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 5)
        assert script.asked == [None, 5, 9]
        assert watching.value == ("a", "b")
        assert watching.known
        assert watching.age() < 5


async def test_an_index_that_goes_backwards_or_is_not_above_zero_starts_again() -> None:
    script = Script((9, ("a",)), (4, ("b",)), (7, ("c",)), (0, ("d",)), (-1, ("e",)))
    async with watched(script) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 5)
        assert script.asked == [None, 9, None, 7, None, None]
        assert watching.value == ("e",)


async def test_an_error_starts_again_without_an_index_and_never_ends_the_watch() -> None:
    away = ConsulUnreachable("away")
    script = Script(*[away] * 20, (3, ("a",)), away, (2, ("b",)))
    async with watched(script) as watching:
        with pytest.raises(ConsulUnreachable, match="away"):
            await watching.ready(0.0001)
        await watching.ready(5)
        assert watching.value in (("a",), ("b",))
        await asyncio.wait_for(script.exhausted.wait(), 5)
        assert script.asked[-3:] == [3, None, 2]
        assert watching.value == ("b",)


async def test_a_sudden_empty_answer_is_held_and_then_shown() -> None:
    script = Script((1, ("a",)), (2, ()), (3, ()))
    async with watched(script, hold=30) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 5)
        assert watching.value == ("a",)
        assert script.waits[-1] <= 30
    script = Script((1, ("a",)), (2, ()), *[(3, ())] * 60)
    async with watched(script, hold=0.02) as watching:
        await asyncio.wait_for(script.exhausted.wait(), 5)
        assert watching.value == ()


async def test_an_empty_answer_that_is_the_first_is_shown_at_once() -> None:
    script = Script((1, ()))
    async with watched(script, hold=30) as watching:
        await watching.ready(5)
        assert watching.known
        assert watching.value == ()


async def test_a_list_that_comes_back_while_it_is_held_never_looked_empty() -> None:
    seen: list[tuple[str, ...]] = []
    script = Script((1, ("a",)), (2, ()), (3, ("a",)), (4, ("b",)))
    async with watched(script, hold=30) as watching:
        watching.on_change(lambda: seen.append(watching.value))
        await asyncio.wait_for(script.exhausted.wait(), 5)
    assert seen == [("a",), ("b",)]


async def test_callbacks_come_only_for_changes() -> None:
    changes: list[object] = []
    script = Script((1, ("a",)), (2, ("a",)), (3, ("b",)))
    async with watched(script) as watching:
        watching.on_change(lambda: changes.append(watching.value))
        await asyncio.wait_for(script.exhausted.wait(), 5)
    assert changes == [("a",), ("b",)]


def test_the_pause_after_errors_grows_to_a_second_with_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pauses = [backoff(100) for _ in range(200)]
    assert 0.5 <= min(pauses) < max(pauses) <= 1.0
