"""``hrpc probe liveness`` of a job: it lives while its heartbeat is young and its process is there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from examples.demo.process import Process
from tests.cli.conftest import Command
from tests.cli.probing import probe, started

JOB = """
import asyncio, os, pathlib, time
import hrpc

async def compute():
    beat = pathlib.Path(os.environ["HRPC_RUN_DIR"]) / f"nightly-{os.getpid()}.heartbeat"
    while not beat.exists() or not beat.read_text():
        await asyncio.sleep(0.01)
    print("beats", flush=True)
    while not pathlib.Path("enough").exists():
        time.sleep(0.01)
    print("answers", flush=True)
    await asyncio.Event().wait()

hrpc.new_server(hrpc.with_server_name("nightly")).run(compute)
"""


def job(command: Command, run_dir: str) -> Process:
    """A job that keeps its event loop from answering, for as long as there is no file that says otherwise."""
    command.module("nightly", JOB)
    process = command.start(code="import nightly", HRPC_RUN_DIR=run_dir)
    process.line(lambda line: "beats" in line, timeout=60)
    return process


def test_a_job_that_computes_is_alive_while_its_heartbeat_is_young(command: Command, run_dir: str) -> None:
    process = job(command, run_dir)
    well = probe(command, "liveness", "--timeout", "0.2", HRPC_RUN_DIR=run_dir)
    told = f"liveness of nightly (pid {process.pid}): its heartbeat is younger than 15 s\n"
    assert (well.returncode, well.stdout) == (0, told)
    beat = Path(run_dir) / f"nightly-{process.pid}.heartbeat"
    assert probe(command, "liveness", "--heartbeat", str(beat)).returncode == 0
    beat.write_text(f"{int(time.time()) - 16}\n")
    late = probe(command, "liveness", "--timeout", "0.2", HRPC_RUN_DIR=run_dir)
    told = f"liveness: nightly (pid {process.pid}) gave no answer within 0.2 s\n"
    assert (late.returncode, late.stderr) == (1, told)
    of_file = probe(command, "liveness", "--heartbeat", str(beat))
    assert (of_file.returncode, of_file.stderr) == (1, f"liveness of {beat}: no heartbeat there within the last 15 s\n")
    assert probe(command, "readiness", "--timeout", "0.2", HRPC_RUN_DIR=run_dir).returncode == 1
    (command.folder / "enough").touch()
    process.line(lambda line: "answers" in line)
    answers = probe(command, "liveness", "--timeout", "20", HRPC_RUN_DIR=run_dir)
    assert (answers.returncode, answers.stdout) == (0, f"liveness of nightly (pid {process.pid}): ok\n")


def test_a_job_that_was_killed_is_not_alive_though_its_heartbeat_is_young(command: Command, run_dir: str) -> None:
    process = job(command, run_dir)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert (Path(run_dir) / f"nightly-{process.pid}.heartbeat").exists()
    ran = probe(command, "liveness", HRPC_RUN_DIR=run_dir)
    assert (ran.returncode, ran.stderr[:36]) == (1, "liveness: no service runs here: it h")


def test_a_job_beside_a_service_does_not_answer_for_it(command: Command, run_dir: str) -> None:
    process, service = job(command, run_dir), started(command, run_dir)
    ran = probe(command, "liveness", HRPC_RUN_DIR=run_dir)
    told = (
        f"2 services run here, nightly (pid {process.pid}), orders (pid {service.pid}): choose one with --name or --pid"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"liveness: {told}\n")
    (command.folder / "enough").touch()
