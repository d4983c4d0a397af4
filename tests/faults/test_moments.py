"""SIGTERM at any moment, from the first line of a program to the last step of its stop."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import NamedTuple

import pytest

from tests.faults.figures import share
from tests.faults.whole import Life, Whole

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

AT_ONCE = 2
ENDS_WITHIN = 10.0
"""Seconds from the signal to the end of the process, with nothing in flight: 0.4 on a quiet machine."""


Made = Callable[[], AbstractAsyncContextManager[Life]]


class Ended(NamedTuple):
    moment: str
    seconds: float
    code: int
    wrong: list[str]


@pytest.mark.parametrize("workers", [None, 2], ids=["alone", "workers"])
@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_a_signal_at_any_moment_ends_a_service_in_time_and_nothing_is_left(
    whole: Whole, engine: str, workers: int | None, moments: int, figures: Callable[..., None]
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    made = partial(whole.life, engine=engine, workers=workers)
    starts, stops = await lasting(made)
    places, lives, ends = asyncio.Semaphore(AT_ONCE), list[Life](), list[Ended]()

    async def one(moment: float) -> None:
        async with places, made() as life:
            lives.append(life)
            ends.append(await (during_start(life, moment) if moment < starts else during_stop(life, moment - starts)))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(moments):
            tasks.create_task(one(chance.uniform(0, starts + stops)))
    late = {life.name: left for life in lives if (left := await life.registrations())}
    codes = Counter(end.code for end in ends)
    figures(
        engine=engine,
        workers=workers or 0,
        moments=len(ends),
        longest_s=max(end.seconds for end in ends),
        p50_s=share([end.seconds for end in ends], 0.5),
        **{f"code_{code}": count for code, count in codes.items()},
    )
    wrong = [end for end in ends if end.wrong]
    assert not wrong, f"seed {seed}: {len(wrong)} of {len(ends)}, the first: {wrong[0]}"
    assert not late
    assert max(end.seconds for end in ends) <= ENDS_WITHIN


async def lasting(made: Made) -> tuple[float, float]:
    """Seconds that a start and a stop take while as many others do the same."""

    async def one() -> tuple[float, float]:
        async with made() as life:
            began = time.monotonic()
            await life.started()
            started = time.monotonic()
            life.process.send(signal.SIGTERM)
            assert await life.process.ended() == 0, life.process.output
            return started - began, time.monotonic() - started

    lasted = await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return max(start for start, _ in lasted), max(stop for _, stop in lasted)


async def during_start(life: Life, moment: float) -> Ended:
    await life.process.says("begins")
    await asyncio.sleep(moment)
    return await ended(life, f"{moment:.4f} s after its first line", time.monotonic())


async def during_stop(life: Life, moment: float) -> Ended:
    """The second signal, which lets the stop wait for nobody."""
    await life.started()
    began = time.monotonic()
    life.process.send(signal.SIGTERM)
    await asyncio.sleep(moment)
    return await ended(life, f"{moment:.4f} s after the first signal", began)


async def ended(life: Life, moment: str, began: float) -> Ended:
    with suppress(ProcessLookupError):
        life.process.send(signal.SIGTERM)
    code = await life.process.ended()
    seconds = time.monotonic() - began
    wrong = await life.left()
    output = life.process.output
    if "Traceback" in output:
        wrong.append(f"a traceback: {output}")
    # Before it takes signals, and after it has given them back, the system ends it.
    is_between = "stops:" not in output or "has stopped" in output
    if code != 0 and not (code == -signal.SIGTERM and is_between):
        wrong.append(f"exit code {code}: {output}")
    return Ended(moment, seconds, code, wrong)
