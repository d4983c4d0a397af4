"""hrpc.go: work beside the calls, which belongs to the server."""

from __future__ import annotations

import asyncio

import pytest

import hrpc
from hrpc.errors import NotRunning
from tests.server.recorded import Recorded, a_server


async def test_background_tasks_are_finished_before_the_pools_close_and_their_failure_is_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    happened: list[str] = []
    started = asyncio.Event()
    ended = asyncio.Event()

    async def work() -> str:
        started.set()
        await ended.wait()
        happened.append("work")
        return "done"

    async def broken() -> None:
        raise ZeroDivisionError("oh")

    async with a_server(hrpc.with_databases(Recorded(happened))):
        task = hrpc.go(work())
        failed = hrpc.go(broken())
        await started.wait()
        ended.set()
    assert happened == ["open", "work", "close"]
    assert task.result() == "done"
    assert failed.result() is None
    assert "ZeroDivisionError" in capsys.readouterr().out


async def test_a_background_task_that_does_not_end_is_cancelled_at_the_limit() -> None:
    async def for_ever() -> None:
        await asyncio.Event().wait()

    async with a_server(hrpc.with_graceful_stop(step_limit=0.5)):
        task = hrpc.go(for_ever())
    assert task.cancelled()


def test_go_outside_a_server_says_so() -> None:
    async def work() -> None: ...

    with pytest.raises(NotRunning, match=r"hrpc.go: no hrpc server is running in this event loop .*, a job or a hook$"):
        hrpc.go(work())
