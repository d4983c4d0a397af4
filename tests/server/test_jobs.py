"""Jobs: what they are given, how they end, and the sign of life of one that runs."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import hrpc
from hrpc import context
from hrpc.errors import JobTimeout, NotRunning, OptionError
from hrpc.health import heartbeat
from tests.eventually import eventually
from tests.process import running, script
from tests.server.recorded import Recorded, a_server


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder that no other test uses."""
    run = tmp_path / "run"
    monkeypatch.setenv("HRPC_RUN_DIR", str(run))
    return run


def outside(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs it in a thread, where no event loop runs, as in a program."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def test_a_job_gets_its_arguments_sync_or_async() -> None:
    async def there(first: int, *, second: int) -> int:
        await asyncio.sleep(0)
        return first + second

    def in_thread(first: int, *, second: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return first * second

    server = a_server()
    assert outside(server.run, there, 2, second=3) == 5
    assert outside(server.run, in_thread, 2, second=3) == 6
    assert outside(server.run, lambda: there(3, second=4)) == 7


def test_a_sync_job_uses_the_pools_and_awaits_in_the_loop() -> None:
    database = Recorded([])

    async def asked() -> str:
        assert database.slot.get() == "the client"
        return "answered"

    def job() -> str:
        assert database.slot.get() == "the client"
        return hrpc.from_thread.run(asked)

    assert outside(a_server(hrpc.with_databases(database)).run, job) == "answered"


def test_steps_run_around_a_job_and_sync_ones_await_in_the_loop_as_well() -> None:
    happened: list[str] = []

    async def told(word: str) -> None:
        happened.append(word)

    async def job() -> None:
        happened.append("job")

    options = (
        hrpc.with_pre_run(lambda: hrpc.from_thread.run(told, "before")),
        hrpc.with_post_run(lambda: hrpc.from_thread.run(told, "after")),
    )
    outside(a_server(*options).run, job)
    assert happened == ["before", "job", "after"]


def test_what_a_job_raises_comes_as_it_is_also_an_error_of_hrpc() -> None:
    async def job() -> None:
        raise NotRunning("mine")

    with pytest.raises(NotRunning, match="mine"):
        outside(a_server().run, job)


@pytest.mark.parametrize("sync", [False, True])
def test_a_job_that_takes_too_long_is_told_to_end_and_has_its_deadline_for_what_it_asks(sync: bool) -> None:
    ended = threading.Event()

    async def waits() -> None:
        assert (current := context.current()) is not None
        assert 0 < (current.time_remaining() or 0) <= 0.2
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def looks() -> None:
        hrpc.from_thread.run(hrpc.draining().wait)
        ended.set()

    with pytest.raises(JobTimeout, match=r"the job .* has not ended within 0.2 s") as caught:
        outside(a_server().run, looks if sync else waits, timeout=0.2)
    assert caught.value.limit == 0.2
    assert ended.is_set()


def test_a_job_that_does_not_end_when_told_is_left_after_the_grace() -> None:
    go_on = threading.Event()
    try:
        with pytest.raises(JobTimeout):
            outside(a_server(hrpc.with_graceful_stop(grace=0.1)).run, go_on.wait, timeout=0.1)
    finally:
        go_on.set()


@pytest.mark.parametrize("sync", [False, True])
def test_a_job_that_stops_its_server_is_told_to_end_like_any_other(
    sync: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[str] = []

    async def stops() -> None:
        await server.stop()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    def stops_in_thread() -> None:
        hrpc.from_thread.run(server.stop)
        hrpc.from_thread.run(hrpc.draining().wait)
        ended.append("told")

    server = a_server()
    with pytest.raises(SystemExit) as exit:
        outside(server.run, stops_in_thread if sync else stops)
    assert (exit.value.code, ended) == (1, ["told" if sync else "cancelled"])
    assert "waits no longer" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"timeout": 0}, r"server.run\(timeout=0\): takes seconds"), ({"heartbeat": 5}, r"server.run\(heartbeat=5\)")],
)
def test_wrong_arguments_are_refused_before_anything_starts(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        a_server().run(print, **wrong)
    with pytest.raises(TypeError, match="takes a function, not 5"):
        a_server().run(5)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGQUIT, 131)], ids=lambda it: str(it)
)
async def test_a_signal_ends_a_sync_job_that_looks_and_the_exit_code_is_that_of_shells(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    after = (
        "def job():\n"
        "    print('waits', flush=True)\n"
        "    hrpc.from_thread.run(hrpc.draining().wait)\n"
        "    print('saved', flush=True)\n"
        "life.when_exit(lambda: print('closed', flush=True))\n"
        "server.run(job)"
    )
    async with running(script(tmp_path, after=after)) as process:
        await process.says("waits")
        process.send(number)
        assert await process.ended() == code
        assert process.output.index("saved") < process.output.index("closed")


async def test_a_second_signal_waits_for_no_job(tmp_path: Path) -> None:
    after = (
        "import threading\ndef job():\n    print('waits', flush=True)\n    threading.Event().wait()\nserver.run(job)"
    )
    async with running(script(tmp_path, after=after)) as process:
        await process.says("waits")
        process.send(signal.SIGTERM)
        await process.says("tested stops: SIGTERM")
        process.send(signal.SIGTERM)
        await process.says("does not end, and is left to itself")
        assert await process.ended() == 143


async def test_a_job_that_exits_when_it_is_told_to_end_has_its_own_code(tmp_path: Path) -> None:
    after = (
        "async def job():\n"
        "    print('waits', flush=True)\n"
        "    try:\n        await asyncio.Event().wait()\n"
        "    except asyncio.CancelledError:\n        raise SystemExit(5)\n"
        "server.run(job)"
    )
    async with running(script(tmp_path, after=after)) as process:
        await process.says("waits")
        process.send(signal.SIGTERM)
        assert await process.ended() == 5


def test_a_heartbeat_is_there_while_the_job_runs_and_gone_with_it(folder: Path) -> None:
    async def job() -> None:
        async def beats() -> bool:
            return [heartbeat.is_alive(beat.path) for beat in heartbeat.found(str(folder))] == [True]

        await eventually(beats)

    outside(a_server().run, job)
    assert heartbeat.found(str(folder)) == []


def test_a_heartbeat_is_where_it_is_wanted_or_nowhere(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "beat"

    async def job() -> None:
        async def beats() -> bool:
            return heartbeat.is_alive(str(path))

        await eventually(beats)
        assert heartbeat.found(str(folder)) == []

    outside(a_server().run, job, heartbeat=path)
    assert not path.exists()

    async def without() -> list[heartbeat.Beat]:
        return heartbeat.found(str(folder))

    assert outside(a_server().run, without, heartbeat=False) == []


def test_a_job_runs_also_where_its_heartbeat_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    async def job() -> str:
        while "cannot write /nowhere/beat" not in capsys.readouterr().out:
            await asyncio.sleep(0.01)
        return "done"

    assert outside(a_server().run, job, heartbeat="/nowhere/beat") == "done"
