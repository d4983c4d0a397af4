"""Each step of a whole service in turn, whichever there are, has a fault: in a process of its own, on real servers."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import NamedTuple, get_args

import pytest

from tests.faults.whole import STOP, Life, Step, Whole
from tests.faulty import AtStart, AtStop

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

AT_ONCE = 2
ENDS_WITHIN = 15.0
"""Seconds from the fault or the signal to the end of the process: its waits and limits, the 2 s and 3 s of the thread
that ends it from outside, and the rest for a machine with much else to do."""


class Case(NamedTuple):
    fault: str
    """What the step does: see `tests.faulty.Faulty`."""
    code: int
    """What the process exits with."""


CASES = [Case(fault, int(fault != "waits")) for fault in (*get_args(AtStart), *get_args(AtStop))]
ENDED_FROM_OUTSIDE = ("swallows", "blocks")
"""Faults at which the process is ended as it is, at the first step that has one. What a process that is killed leaves,
others remove: Consul a registration, the next process a socket."""


class Ended(NamedTuple):
    step: str
    seconds: float
    wrong: list[str]


@pytest.mark.parametrize("workers", [None, 2], ids=["alone", "workers"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault)
async def test_whichever_step_has_the_fault_the_service_ends_says_which_and_leaves_nothing(
    whole: Whole, case: Case, workers: int | None, figures: Callable[..., None]
) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(step: str) -> Ended:
        async with places, whole.life(workers=workers, fault=f"{case.fault}: {step}") as life:
            return await ended(life, step, case)

    steps = [step for step in await all_steps(whole, workers) if case.fault != "hangs" or step.limited]
    at_start = case.fault in get_args(AtStart)
    names = [name for step in steps if (name := (step.name or step.left_as) if at_start else step.left_as)]
    ends = await asyncio.gather(*(one(name) for name in dict.fromkeys(names)))
    figures(fault=case.fault, workers=workers or 0, steps=len(ends), longest_s=max(end.seconds for end in ends))
    wrong = [end for end in ends if end.wrong]
    assert not wrong, f"{len(wrong)} of {len(ends)}, the first: {wrong[0]}"
    assert max(end.seconds for end in ends) <= ENDS_WITHIN


async def all_steps(whole: Whole, workers: int | None) -> list[Step]:
    async with whole.life(workers=workers) as life:
        return await life.steps()


async def ended(life: Life, step: str, case: Case) -> Ended:
    if case.fault in get_args(AtStart):
        await life.process.says("fault" if case.fault == "waits" else "begins")
    else:
        await life.started()
    began = time.monotonic()
    if case.fault != "fails":
        life.process.send(signal.SIGTERM)
    code = await life.process.ended()
    seconds = time.monotonic() - began
    wrong = life.processes() if case.fault in ENDED_FROM_OUTSIDE else await life.left()
    if code != case.code:
        wrong.append(f"exit code {code}")
    told = {
        "fails": f"{step}: ZeroDivisionError('as the test wants it')",
        "waits": "has stopped",
        "raises": f"of the stop, {step}",
        "hangs": f"{step}: not done within {STOP['step_limit']:g} s",
        "swallows": "the stop hangs",
        "blocks": "the stop hangs",
    }[case.fault]
    # What ends after the log can say nothing.
    if told not in life.process.output and step != "log flushed":
        wrong.append(f"does not say {told!r}")
    if wrong:
        wrong.append(life.process.output)
    return Ended(step, seconds, wrong)
