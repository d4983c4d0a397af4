"""The file by which a job without a port says that it lives."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hrpc.health import heartbeat
from tests.eventually import eventually


def beat(path: Path, age: float) -> str:
    path.write_text(f"{int(time.time() - age)}\n")
    return str(path)


def test_a_beat_is_a_sign_of_life_for_15_seconds(tmp_path: Path) -> None:
    path = tmp_path / "job"
    assert not heartbeat.is_alive(str(path))
    assert heartbeat.is_alive(beat(path, 0))
    assert heartbeat.is_alive(beat(path, 10))
    assert not heartbeat.is_alive(beat(path, 17))
    assert not heartbeat.is_alive(beat(path, -60))
    path.write_text("what is no number")
    assert not heartbeat.is_alive(str(path))


async def test_it_beats_only_while_liveness_passes_and_is_gone_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
    path, well, asked = tmp_path / "job", True, asyncio.Event()

    async def passes() -> bool:
        asked.set()
        return well

    async with heartbeat.beating(str(path), passes):
        await eventually(lambda: _true(heartbeat.is_alive(str(path))))
        well = False
        asked.clear()
        await asked.wait()
        beat(path, 100)
        asked.clear()
        await asked.wait()
        asked.clear()
        await asked.wait()
        assert not heartbeat.is_alive(str(path))
        well = True
        await eventually(lambda: _true(heartbeat.is_alive(str(path))))
        path.unlink()  # somebody cleans temporary files
        await eventually(lambda: _true(heartbeat.is_alive(str(path))))
    assert not path.exists()


async def _true(value: bool) -> bool:
    return value


def test_what_killed_jobs_have_left_is_removed_by_the_next_of_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("HRPC_RUN_DIR", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    beat(tmp_path / f"nightly-{ended.pid}.heartbeat", 100)  # killed
    beat(tmp_path / f"nightly-{ended.pid + 2**22}.heartbeat", 1)  # beats in another container
    beat(tmp_path / f"nightly-{os.getppid()}.heartbeat", 100)  # hangs
    beat(tmp_path / f"other-{ended.pid}.heartbeat", 100)
    assert heartbeat.place("nightly") == str(tmp_path / f"nightly-{os.getpid()}.heartbeat")
    assert [(each.name, each.pid) for each in heartbeat.found(str(tmp_path))] == sorted(
        [("nightly", ended.pid + 2**22), ("nightly", os.getppid()), ("other", ended.pid)],
        key=lambda each: f"{each[0]}-{each[1]}",
    )


def test_there_is_no_place_where_there_is_to_be_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_RUN_DIR", "none")
    assert heartbeat.place("nightly") is None


def test_reading_it_imports_nothing_heavy() -> None:
    code = "import sys, hrpc.health.heartbeat; print({'asyncio', 'grpc', 'loguru', 'aiohttp'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
