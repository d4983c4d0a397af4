"""Servers of the benchmark are only compared when they answer right."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import fleet, hot_loop
from benchmarks.answers import WrongAnswer
from benchmarks.load import Load, put
from benchmarks.variants import BARE, FULL, NONE, WITHOUT, Variant, with_workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark is for Linux")
needs_h2load = pytest.mark.skipif(
    shutil.which("h2load") is None and not os.environ.get("CI"), reason="h2load is missing: scripts/install-h2load"
)


def test_a_server_of_hrpc_answers_right_before_and_after(tmp_path: Path) -> None:
    with fleet.all_running([FULL], tmp_path) as instances:
        instance = instances[FULL.name]
        assert instance.cpu_seconds() > 0
        assert instance.resident_megabytes() > 10


def test_the_processor_time_of_a_server_is_that_of_all_of_its_processes(tmp_path: Path) -> None:
    several = with_workers(FULL, 2)
    with fleet.running(several, tmp_path) as instance:
        processes = list(fleet.with_descendants(instance.pid))
        assert len(processes) == 4  # the master, the nursery and two workers
        assert instance.cpu_seconds() > max(map(fleet.cpu_seconds, processes))


def test_a_thread_that_has_ended_since_it_was_listed_has_started_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: [folder / "0", *listed(folder)])

    assert next(fleet.with_descendants(os.getpid())) == os.getpid()
    assert os.getpid() not in list(fleet.with_descendants(os.getpid()))[1:]


def test_a_server_that_ends_is_reported_with_its_output(tmp_path: Path) -> None:
    broken = Variant("broken", "full", ("--engine", "none"))

    with pytest.raises(WrongAnswer, match=r"broken: it has ended(.|\n)*invalid choice: 'none'"):
        with fleet.running(broken, tmp_path):
            pass


@needs_h2load
def test_a_load_counts_the_answers(tmp_path: Path) -> None:
    with fleet.running(BARE, tmp_path) as instance:
        answered = put(instance, Load(connections=1, streams=2), tmp_path, calls=50)
        streamed = put(instance, Load(connections=1, streams=1, repeated=3), tmp_path, calls=5)

    assert (answered.calls, streamed.calls) == (50, 5)
    assert answered.rate > 0


@needs_h2load
def test_a_refusal_is_no_answer_although_http_says_200(tmp_path: Path) -> None:
    with fleet.running(BARE, tmp_path) as instance, pytest.raises(WrongAnswer, match="not all answers are there"):
        put(instance, Load(connections=1, streams=2, method="Missing"), tmp_path, calls=50)


async def test_the_hot_loop_finds_the_handlers_of_every_variant(capfd: pytest.CaptureFixture[str]) -> None:
    figures = await hot_loop.measured(calls=3)

    assert [FULL.name, *(variant.name for variant in WITHOUT), NONE.name] == list(figures)
    assert '"code":"OK"' in capfd.readouterr().out
