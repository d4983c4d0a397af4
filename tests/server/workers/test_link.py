"""The line between a master and a worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hrpc.errors import WorkerError
from hrpc.server.workers.link import Link, opened

Ends = tuple[Link, Link]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    one, other = socket.socketpair()
    async with opened(one, "the master") as worker, opened(other, "worker 1") as master:
        yield worker, master


async def double(argument: Any) -> Any:
    return argument * 2


async def test_both_ends_ask_and_are_answered(ends: Ends) -> None:
    for end in ends:
        end.on("double", double)
    assert await ends[0].ask("double", 21, timeout=5) == 42
    assert await ends[1].ask("double", "ä\ud800", timeout=5) == "ä\ud800ä\ud800"


async def test_answers_find_their_questions_in_any_order(ends: Ends) -> None:
    gate = asyncio.Event()

    async def wait(argument: Any) -> Any:
        if argument == "first":
            await gate.wait()
        return argument

    ends[1].on("wait", wait)
    first = asyncio.ensure_future(ends[0].ask("wait", "first", timeout=5))
    assert await ends[0].ask("wait", "second", timeout=5) == "second"
    gate.set()
    assert await first == "first"


async def test_a_line_may_be_millions_of_bytes_long(ends: Ends) -> None:
    ends[1].on("double", double)
    assert await ends[0].ask("double", "x" * 3_000_000, timeout=10) == "x" * 6_000_000


async def test_an_error_at_the_other_end_is_told_and_the_line_goes_on(ends: Ends) -> None:
    async def fail(_: Any) -> Any:
        return 1 / 0

    ends[1].on("fail", fail)
    ends[1].on("double", double)
    with pytest.raises(WorkerError, match="the master: ZeroDivisionError"):
        await ends[0].ask("fail", timeout=5)
    with pytest.raises(WorkerError, match="no command 'unknown'"):
        await ends[0].ask("unknown", timeout=5)
    assert await ends[0].ask("double", 1, timeout=5) == 2


async def test_who_does_not_answer_in_time_is_named(ends: Ends) -> None:
    async def never(_: Any) -> Any:
        await asyncio.Event().wait()

    ends[0].on("never", never)
    with pytest.raises(WorkerError, match=r"worker 1: no answer to 'never' within 0\.01 s"):
        await ends[1].ask("never", timeout=0.01)


async def test_the_end_of_one_is_seen_by_the_other() -> None:
    one, other = socket.socketpair()
    async with opened(one, "worker 1") as master:
        asked = asyncio.ensure_future(master.ask("anything", timeout=5))
        await asyncio.sleep(0)
        other.close()
        with pytest.raises(WorkerError, match="worker 1 has gone"):
            await asked
        await master.closed.wait()
        with pytest.raises(WorkerError, match="worker 1 has gone"):
            await master.ask("anything", timeout=5)
        master.tell("anything")
