"""Loading: once for all who ask, whoever leaves."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Iterator

import pytest
from loguru import logger

import hrpc
from hrpc_inmemory import LoadCancelled, LoadTimeout, Map
from tests.clock import Clock
from tests.eventually import eventually


class Source:
    """A loader whose values a test lets through."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.cancelled = 0
        self._answers: asyncio.Queue[str | Exception] = asyncio.Queue()

    def answer(self, *answers: str | Exception) -> None:
        for answer in answers:
            self._answers.put_nowait(answer)

    async def __call__(self, key: int) -> str:
        self.asked.append(key)
        try:
            answer = await self._answers.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def is_asked(self, times: int = 1) -> None:
        async def look() -> bool:
            return len(self.asked) >= times

        await eventually(look)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages of the log."""
    messages: list[str] = []
    number = logger.add(lambda message: messages.append(message.record["message"]))
    yield messages
    logger.remove(number)


def begun(users: Map[int, str], source: Callable[[int], Awaitable[str]], count: int = 1) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(users.get_or_load(1, source)) for _ in range(count)]


async def test_one_loader_runs_for_all_who_ask_meanwhile(source: Source, clock: Clock) -> None:
    users: Map[int, str] = Map("users", max_life=10, clock=clock)
    asking = begun(users, source, 50)
    await source.is_asked()
    source.answer("Ada")
    assert await asyncio.gather(*asking) == ["Ada"] * 50
    assert await users.get_or_load(1, source) == "Ada"
    assert source.asked == [1]
    found = users.statistics()
    assert (found.loads, found.hits, found.misses) == (1, 1, 50)
    clock.now += 10
    source.answer("Eve")
    assert await users.get_or_load(1, source, max_life=20) == "Eve"
    clock.now += 19
    assert users.get(1) == "Eve"


async def test_keys_are_loaded_beside_each_other(source: Source) -> None:
    users: Map[int, str] = Map("users")
    asking = [asyncio.create_task(users.get_or_load(key, source)) for key in (1, 2)]
    await source.is_asked(2)
    source.answer("Ada", "Bob")
    assert await asyncio.gather(*asking) == ["Ada", "Bob"]


async def test_an_error_is_raised_to_all_and_not_kept(source: Source) -> None:
    users: Map[int, str] = Map("users")
    asking = begun(users, source, 3)
    await source.is_asked()
    error = OSError("away")
    source.answer(error, "Ada")
    assert await asyncio.gather(*asking, return_exceptions=True) == [error] * 3
    depth = 0
    traceback = error.__traceback__
    while traceback is not None:
        depth, traceback = depth + 1, traceback.tb_next
    assert depth < 10
    assert await users.get_or_load(1, source) == "Ada"
    assert users.statistics().failures == 1


async def test_errors_are_kept_as_long_as_asked(source: Source, clock: Clock) -> None:
    users: Map[int, str] = Map("users", keep_errors=5, clock=clock)
    source.answer(OSError("away"), OSError("still away"), "Ada")
    for _ in range(3):
        with pytest.raises(OSError, match=r"^away"):
            await users.get_or_load(1, source)
    assert source.asked == [1]
    clock.now += 5
    with pytest.raises(OSError, match="still away"):
        await users.get_or_load(1, source)
    users.delete(1)
    assert await users.get_or_load(1, source) == "Ada"


async def test_one_who_is_cancelled_leaves_the_load_to_the_others(source: Source) -> None:
    users: Map[int, str] = Map("users")
    first, second = begun(users, source, 2)
    await source.is_asked()
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    source.answer("Ada")
    assert await second == "Ada"
    assert source.cancelled == 0


async def test_a_load_that_all_have_left_goes_on_for_those_to_come(source: Source) -> None:
    users: Map[int, str] = Map("users")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await users.get_or_load(1, source)
    await source.is_asked()
    source.answer("Ada")
    assert await users.get_or_load(1, source) == "Ada"
    assert source.asked == [1]


async def test_a_failure_for_which_nobody_waits_is_in_the_log(source: Source, logged: list[str]) -> None:
    users: Map[int, str] = Map("users")
    (asking,) = begun(users, source)
    await source.is_asked()
    asking.cancel()
    await asyncio.wait({asking})
    source.answer(OSError("away"))

    async def has_failed() -> bool:
        return users.statistics().failures == 1

    await eventually(has_failed)
    gc.collect()
    assert logged == ["hrpc_inmemory.Map('users'): a value could not be loaded, and nobody waits for it"]


async def test_a_loader_has_a_limit(source: Source) -> None:
    users: Map[int, str] = Map("users", load_limit=0.01)
    with pytest.raises(LoadTimeout, match=r"Map\('users'\): no value was loaded within 0.01 s \(load_limit\)"):
        await users.get_or_load(1, source)
    assert source.cancelled == 1

    async def too_late(_: int) -> str:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await users.get_or_load(1, too_late)


async def test_a_loader_that_cancels_itself_is_an_error_and_no_cancel() -> None:
    async def cancels(_: int) -> str:
        raise asyncio.CancelledError

    users: Map[int, str] = Map("users")
    with pytest.raises(LoadCancelled):
        await users.get_or_load(1, cancels)
    source = Source()
    source.answer("Ada")
    assert await users.get_or_load(1, source) == "Ada"


async def test_a_load_that_ends_before_it_has_begun_is_told_and_leaves_nothing_behind(source: Source) -> None:
    users: Map[int, str] = Map("users")
    (asking,) = begun(users, source)
    await asyncio.sleep(0)  # it has a task, which has made no step
    await users.end_loads()
    with pytest.raises(LoadCancelled):
        await asking
    assert source.asked == []
    source.answer("Ada")
    assert await users.get_or_load(1, source) == "Ada"


@pytest.mark.parametrize("change", ["set", "delete", "clear"])
async def test_what_began_to_load_before_a_change_does_not_undo_it(source: Source, change: str) -> None:
    users: Map[int, str] = Map("users")
    (before,) = begun(users, source)
    await source.is_asked()
    match change:
        case "set":
            users.set(1, "Eve")
        case "delete":
            users.delete(1)
        case "clear":
            users.clear()
    if change == "set":
        source.answer("Ada")
        assert await before == "Ada"
        assert users.get(1) == "Eve"
        return
    after = asyncio.create_task(users.get_or_load(1, source))
    await source.is_asked(2)
    source.answer("Ada", "Eve")
    assert await asyncio.gather(before, after) == ["Ada", "Eve"]
    assert users.get(1) == "Eve"


async def test_a_stale_value_is_given_while_it_is_loaded_anew(source: Source, clock: Clock) -> None:
    users: Map[int, str] = Map("users", max_life=10, stale=60, clock=clock)
    users.set(1, "Ada")
    clock.now += 10
    assert users.get(1) is None
    assert [await users.get_or_load(1, source) for _ in range(3)] == ["Ada"] * 3
    await source.is_asked()
    source.answer("Eve")

    async def is_new() -> bool:
        return users.get(1) == "Eve"

    await eventually(is_new)
    assert source.asked == [1]
    assert users.statistics().stale == 3
    clock.now += 70
    source.answer("Bob")
    assert await users.get_or_load(1, source) == "Bob"


async def test_a_stale_value_stays_while_it_cannot_be_loaded(source: Source, clock: Clock, logged: list[str]) -> None:
    users: Map[int, str] = Map("users", max_life=10, stale=60, clock=clock)
    users.set(1, "Ada")
    clock.now += 10
    for failures in (1, 2):
        source.answer(OSError("away"))
        for _ in range(5):
            assert await users.get_or_load(1, source) == "Ada"

        async def has_failed(failures: int = failures) -> bool:
            return users.statistics().failures == failures

        await eventually(has_failed)
        assert await users.get_or_load(1, source) == "Ada"
        assert users.statistics().loads == failures
        clock.now += 1
    assert len(logged) == 2


async def test_a_loader_that_waits_for_its_own_value_is_told() -> None:
    users: Map[int, str] = Map("users")

    async def asks_itself(key: int) -> str:
        return await users.get_or_load(key, asks_itself)

    with pytest.raises(RuntimeError, match="the loader of a value waits for the same value, which never comes"):
        await users.get_or_load(1, asks_itself)


def test_who_waits_for_a_loader_that_ends_the_process_is_told_so() -> None:
    users: Map[int, str] = Map("users")
    told: list[str] = []

    async def leave(_: int) -> str:
        await asyncio.sleep(0)
        sys.exit(3)

    async def wait() -> None:
        for _ in range(2):
            try:
                await users.get_or_load(1, leave)
            except RuntimeError as error:
                told.append(str(error))

    async def last() -> None:
        await waiting

    loop = asyncio.new_event_loop()
    waiting = loop.create_task(wait())
    for _ in range(2):
        with pytest.raises(SystemExit):
            loop.run_until_complete(last())
    loop.run_until_complete(waiting)
    loop.close()
    assert told == ["hrpc_inmemory.Map('users'): the loader raised SystemExit(3)"] * 2


async def test_a_weight_that_cannot_be_is_told_to_those_who_wait() -> None:
    async def load(_: int) -> str:
        return "Ada"

    users: Map[int, str] = Map("users", max_size=1, weigh=lambda *_: -1)
    with pytest.raises(ValueError, match="weigh has given -1"):
        await users.get_or_load(1, load)
    assert not users._loads


async def test_a_loader_has_the_trace_of_the_first_and_neither_its_deadline_nor_its_identity() -> None:
    found: list[hrpc.Context | None] = []

    async def load(_: int) -> str:
        found.append(hrpc.context.current())
        return "Ada"

    users: Map[int, str] = Map("users")
    with hrpc.background_context(timeout=5) as context:
        context.identity = "root"
        await users.get_or_load(1, load)
    assert found[0] is not None
    assert found[0].trace_id == context.trace_id
    assert found[0].deadline is None
    assert found[0].identity is None
    assert context.deadline is not None
    await users.get_or_load(2, load)
    assert found[1] is None


def test_each_event_loop_loads_for_itself() -> None:
    users: Map[int, str] = Map("users", max_life=60)

    async def load(_: int) -> str:
        return "Ada"

    for key in range(3):
        assert asyncio.run(users.get_or_load(key, load)) == "Ada"
    assert not users._loads
