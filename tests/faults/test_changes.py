"""A list of instances that changes a million times: no connection, no file and no memory is left behind."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.echo import call
from tests.eventually import eventually
from tests.faults.used import endpoints
from tests.service.calls.fleet import fleet
from tests.service.peers import called

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

SERVERS = 6
CHANGES_BETWEEN_CALLS = 25
LEVEL_KB = 4000.0
"""What the process may grow by between the first tenth of the changes and the end. A channel that leaked would be 30 KB
or more, and so would be seen after 150 of them."""


@pytest.fixture
def changes() -> int:
    """How often the list changes: ``FAULTS_CHANGES``."""
    return int(os.environ.get("FAULTS_CHANGES", "1000000"))


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> float:
    """KB of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024


async def test_a_million_changes_of_a_list_leave_nothing_behind(changes: int, figures: Callable[..., None]) -> None:
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(called(b"%d" % number)) for number in range(SERVERS)]
        made = await stack.enter_async_context(fleet(ports))
        listed = set(ports)

        async def change(number: int) -> None:
            for port in random.sample(ports, k=2):
                listed.symmetric_difference_update({port} if len(listed) > 1 or port not in listed else ())
            made.listed.replace(sorted(listed))
            assert endpoints(made.channel) == {f"127.0.0.1:{port}" for port in listed}
            if number % CHANGES_BETWEEN_CALLS == 0:
                assert await call(made.channel, "Name", timeout=10) in {b"%d" % ports.index(port) for port in listed}

        async def quiet() -> bool:
            return not made.connections._tasks

        for number in range(changes // 10):
            await change(number)
        await eventually(quiet, 60)
        files_before, memory_before, began = files(), resident(), time.monotonic()
        for number in range(changes - changes // 10):
            await change(number)
        seconds = time.monotonic() - began
        await eventually(quiet, 60)

        async def level() -> bool:
            return files() <= files_before + 2 * SERVERS

        await eventually(level)
        grown = resident() - memory_before
        figures(changes=changes, seconds=seconds, files_more=files() - files_before, grown_kb=grown)
        assert len(made.connections._open) == len(listed)
        assert grown <= LEVEL_KB
