"""200 services with up to 5 instances that come and go at random: a channel uses what Consul says."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import chain

import aiohttp
import pytest

import hrpc
from hrpc import service
from hrpc.consul.watch import EMPTY_HOLD
from tests.faults.churn import SLOTS, Churning
from tests.faults.conftest import Agent
from tests.faults.figures import share
from tests.faults.services import a_server
from tests.service.peers import called

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

SERVICES = 200
EMPTYING = 20
"""Services that also lose all instances at once."""
CHANGES_PER_SECOND = 40.0
SEEN_WITHIN = 0.1


async def late(lateness: list[float]) -> None:
    """Measures how late this event loop is: no change can be seen earlier."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(0.05)
        lateness.append(time.monotonic() - began - 0.05)


async def test_what_200_channels_use_is_what_consul_says_while_their_instances_come_and_go(
    agent: Agent, seconds: float, figures: Callable[..., None]
) -> None:
    async with AsyncExitStack() as stack:
        slots = {name: await stack.enter_async_context(called(name)) for name in (b"%d" % n for n in range(SLOTS))}
        await stack.enter_async_context(a_server("observer", hrpc.Consul(address=agent.address)))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        churning = [Churning(f"churning-{number}", slots, agent.address, session) for number in range(SERVICES)]
        for each in churning:
            await each.change()
            await service.ready(each.name)
            each.lags.clear()
        ended, lateness = asyncio.Event(), list[float]()
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(late(lateness))
            for number, each in enumerate(churning):
                pause = SERVICES / CHANGES_PER_SECOND
                tasks.create_task(each.live(ended, pause, empties=number < EMPTYING))
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                await random.choice(churning).ask()
                await asyncio.sleep(0)
            ended.set()
            measuring.cancel()
    answers: Counter[str] = sum((each.answers for each in churning), Counter())
    lags = list(chain.from_iterable(each.lags for each in churning))
    held = list(chain.from_iterable(each.held for each in churning))
    figures(
        changes=len(lags),
        seen_p50_ms=share(lags, 0.5) * 1000,
        seen_p99_ms=share(lags, 0.99) * 1000,
        seen_max_ms=max(lags) * 1000,
        loop_late_p99_ms=share(lateness, 0.99) * 1000,
        emptied=len(held),
        calls=answers["good"],
        wrong=answers.total() - answers["good"] - answers["none"],
    )
    assert set(answers) <= {"good", "none"}, answers
    assert not held or min(held) >= EMPTY_HOLD
    assert share(lags, 0.99) <= SEEN_WITHIN + share(lateness, 0.99)
