"""Hours of a service's life in short: all kinds of calls, connections and probes, and nothing piles up."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

import hrpc
from hrpc import service
from tests.faults.mixed import Mixed
from tests.faults.services import a_server
from tests.faults.whole import Whole

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

EVERY = 1.0
WARM = 0.2
"""Share of the time after which all has been used once, and the memory of the interpreter is as large as it gets."""
LEVEL_MB = 8.0
"""What the median of the last tenth may be above the most of the warming up, beside what streams that are left cost."""
LEFT_BYTES = 130
"""What a server of grpcio 1.85 keeps of a stream whose reader has gone: 95 with nothing but grpc.aio, after 36,000."""
LEVEL_FILES = 24
"""Descriptors that may be more at a time: connections come and go."""


class Sample(NamedTuple):
    memory_mb: float
    files: int
    threads: int


def sample(pid: int) -> Sample:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(int(status["RssAnon"].split()[0]) / 1024, files, int(status["Threads"]))


@pytest.fixture
def soaked() -> float:
    """Seconds of mixed load: ``FAULTS_SECONDS``, else half an hour."""
    return float(os.environ.get("FAULTS_SECONDS", "1800"))


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_memory_and_descriptors_stay_level_under_a_mixed_load(
    whole: Whole, engine: str, soaked: float, figures: Callable[..., None]
) -> None:
    samples: list[Sample] = []
    caller = a_server("caller", hrpc.Consul(address=whole.consul.address))
    async with whole.life(engine=engine, sampled=0.001, lag=None) as life, caller:
        ports = await life.ports()
        target, health, metrics = (f"127.0.0.1:{ports[what]}" for what in ("serves on port", "health on", "metrics on"))
        await service.ready(life.name)
        async with service.channel(life.name) as found:
            mixed = Mixed(target, found, f"http://{health}", f"http://{metrics}", life.process)
            began = time.monotonic()
            async with mixed.running():
                while time.monotonic() < began + soaked:
                    await asyncio.sleep(EVERY)
                    samples.append(sample(life.process.pid))
        life.process.send(signal.SIGTERM)
        code = await life.process.ended()
        left = await life.left()
    warm, last = samples[: int(len(samples) * WARM)], samples[-max(1, len(samples) // 10) :]
    grown = median(each.memory_mb for each in last) - max(each.memory_mb for each in warm)
    files = median(each.files for each in last) - max(each.files for each in warm)
    figures(
        engine=engine,
        seconds=soaked,
        calls=mixed.done.total(),
        left=mixed.done["left"],
        wrong=mixed.wrong.total(),
        memory_mb=last[-1].memory_mb,
        grown_mb=grown,
        files=last[-1].files,
        files_more=files,
        threads=last[-1].threads,
    )
    assert not mixed.wrong
    assert grown <= LEVEL_MB + mixed.done["left"] * LEFT_BYTES / 1e6, [
        round(each.memory_mb) for each in samples[:: max(1, len(samples) // 20)]
    ]
    assert files <= LEVEL_FILES
    assert last[-1].threads <= max(each.threads for each in warm) + 2
    assert code == 0
    assert not left
