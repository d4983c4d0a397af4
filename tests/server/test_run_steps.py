"""The steps that a user adds to the start and the end of a life: their order, their failures, and their limits."""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import cast

import grpc.aio
import pytest

import hrpc
from hrpc import Priority, life
from hrpc.errors import NotRunning, OptionError, StartError, StartTimeout, StepTimeout, StopError
from hrpc.log.audit import AuditLog
from hrpc.option import fold
from hrpc.rpc.recorder import Recorder
from hrpc.server.parts import Parts
from hrpc.server.plan import plan
from tests.echo import call
from tests.eventually import eventually
from tests.process import running, script
from tests.server.recorded import Recorded, a_server

NAME = hrpc.with_server_name("life")


def told(happened: list[str], word: str) -> Callable[[], None]:
    return lambda: happened.append(word)


async def test_steps_run_lowest_priority_first_then_the_appended_ones_in_their_order() -> None:
    happened: list[str] = []
    options = (
        hrpc.with_pre_run(told(happened, "appended")),
        hrpc.with_pre_run(told(happened, "tenth"), priority=Priority.TENTH),
        hrpc.with_pre_run(told(happened, "10102"), priority=10102),
        hrpc.with_pre_run(told(happened, "appended second")),
        hrpc.with_pre_run(told(happened, "first"), priority=Priority.FIRST),
        hrpc.with_pre_run(told(happened, "first again"), priority=101),
        hrpc.with_post_run(told(happened, "last post")),
        hrpc.with_post_run(told(happened, "second post"), priority=Priority.SECOND),
        hrpc.with_post_run(told(happened, "first post"), priority=Priority.FIRST),
    )
    async with a_server(*options):
        assert happened == ["first", "first again", "tenth", "appended", "10102", "appended second"]
        happened.clear()
    assert happened == ["first post", "second post", "last post"]


async def test_pools_are_open_in_steps_and_calls_are_answered_only_in_between() -> None:
    happened: list[str] = []
    database = Recorded(happened)
    server = a_server(hrpc.with_databases(database))

    async def answered(within: float) -> bool:
        async with grpc.aio.insecure_channel(server.address) as channel:
            try:
                await call(channel, "Echo", timeout=within)
            except grpc.aio.AioRpcError:
                return False
            return True

    async def before() -> None:
        happened.append(f"before with {database.slot.get()}, answered: {await answered(0.2)}")

    def after() -> None:
        happened.append(f"after with {database.slot.get()}")

    server.apply(hrpc.with_pre_run(before), hrpc.with_post_run(after), hrpc.with_exit_listeners(told(happened, "hook")))
    async with server:
        assert await answered(30)
        happened.append("in between")
    assert happened == [
        "open",
        "before with the client, answered: False",
        "in between",
        "after with the client",
        "hook",
        "close",
    ]


async def test_the_first_step_that_fails_ends_the_start_and_says_which_of_how_many_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    happened: list[str] = []

    async def fails() -> None:
        life.when_exit(told(happened, "opened by it, closed"))
        raise LookupError("no table orders")

    options = (
        hrpc.with_pre_run(fails, priority=Priority.FIRST, name="tables"),
        hrpc.with_pre_run(told(happened, "never")),
        hrpc.with_post_run(told(happened, "never")),
    )
    with pytest.raises(StartError, match=r"^\[step (\d+)/(\d+)\] tables: LookupError\('no table orders'\)$") as caught:
        async with a_server(*options):
            pass
    assert caught.value.step == "tables"
    found = re.match(r"\[step (\d+)/(\d+)\]", str(caught.value))
    assert found is not None
    assert int(found[2]) - int(found[1]) == 3  # the other step, serve, ready
    assert happened == ["opened by it, closed"]


@pytest.mark.parametrize("wrong", [None, 5, "migrate"])
def test_what_is_no_function_is_refused(wrong: object) -> None:
    with pytest.raises(OptionError, match=r"hrpc.with_pre_run: takes a function without arguments, not"):
        hrpc.with_pre_run(wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"hrpc.with_post_run: takes"):
        hrpc.with_post_run(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("priority", [-1, 0, 1, 10, 100, 101.0, True, "first"])
def test_priorities_that_are_not_the_users_are_refused(priority: object) -> None:
    with pytest.raises(OptionError, match=r"priority=.*takes hrpc.Priority.FIRST to .TENTH, or a number from 101 on"):
        hrpc.with_pre_run(print, priority=priority)  # type: ignore[arg-type]


def test_a_name_that_breaks_the_log_is_refused() -> None:
    with pytest.raises(OptionError, match=r"hrpc.with_post_run\(name=.*printable text"):
        hrpc.with_post_run(print, name="a\nb")


def test_these_options_add_up_and_all_others_replace() -> None:
    options = (NAME, hrpc.with_pre_run(print), hrpc.with_upstreams("a"), hrpc.with_pre_run(repr), hrpc.with_upstreams())
    settings = fold(options, {})
    assert [step.run for step in settings.pre_run] == [print, repr]
    assert settings.upstreams == ()
    assert repr(hrpc.with_pre_run(print)).startswith("with_pre_run(pre_run=(RunStep(run=<built-in function print>")


async def test_a_post_run_step_that_fails_or_hangs_is_named_with_its_place_and_all_others_run() -> None:
    happened: list[str] = []
    release = threading.Event()

    async def swallows() -> None:
        while not release.is_set():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                release.set()

    def fails() -> None:
        raise ZeroDivisionError

    options = (
        hrpc.with_post_run(fails),
        hrpc.with_post_run(swallows, name="swallows"),
        hrpc.with_post_run(told(happened, "last")),
        hrpc.with_graceful_stop(step_limit=0.5),
    )
    with pytest.raises(StopError) as caught:
        async with a_server(*options):
            pass
    failed, hung = caught.value.exceptions
    assert isinstance(failed, ZeroDivisionError)
    assert re.match(r"raised by \[step 3/\d+\] of the stop, .*fails", failed.__notes__[0])
    assert isinstance(hung, StepTimeout)
    assert hung.step == "swallows"
    assert happened == ["last"]


async def test_a_sync_step_blocks_nothing_else_and_a_signal_ends_the_start(tmp_path: Path) -> None:
    before = "import threading\ndef blocks():\n    print('blocks', flush=True)\n    threading.Event().wait()\n"
    options = ("hrpc.with_pre_run(blocks)", "hrpc.with_graceful_stop(step_limit=20)")
    async with running(script(tmp_path, *options, before=before)) as process:
        await process.says("blocks")
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    assert "serves on port" not in process.output


async def test_what_a_sync_step_gives_to_await_after_a_stop_is_closed_and_not_warned_of() -> None:
    entered, loop, go_on = asyncio.Event(), asyncio.get_running_loop(), threading.Event()
    given = asyncio.sleep(0)

    def gives() -> Coroutine[None, None, None]:
        loop.call_soon_threadsafe(entered.set)
        go_on.wait()
        return given

    starting = asyncio.create_task(a_server(hrpc.with_pre_run(gives)).__aenter__())
    await entered.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    go_on.set()

    async def closed() -> bool:
        return inspect.getcoroutinestate(given) == inspect.CORO_CLOSED

    await eventually(closed)


async def test_a_start_that_takes_longer_than_its_limit_fails_and_says_where() -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    options = (hrpc.with_pre_run(waits, name="waits"), hrpc.with_start_limit(0.1))
    with pytest.raises(StartError, match=r"\[step \d+/\d+\] waits: the start was not done within 0.1 s") as caught:
        async with a_server(*options):
            pass
    assert caught.value.step == "waits"
    # What a start ends with in the log, without a traceback that would tell of hrpc and not of the step.
    assert isinstance(caught.value.__cause__, StartTimeout)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), True, "1"])
def test_a_limit_that_is_none_is_refused(limit: object) -> None:
    with pytest.raises(OptionError, match=r"hrpc.with_start_limit\(seconds="):
        hrpc.with_start_limit(limit)  # type: ignore[arg-type]


async def test_a_long_step_is_told_in_the_log_and_to_whoever_asks_how_far_the_start_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrpc.server.progress.SLOW", 0.01)
    go_on, waiting = asyncio.Event(), asyncio.Event()

    async def warm() -> None:
        waiting.set()
        await go_on.wait()

    server = a_server(hrpc.with_pre_run(warm, name="warm"))
    entering = asyncio.create_task(server.__aenter__())
    await waiting.wait()
    assert server._running is not None
    progress = server._running.parts.progress
    while (output := capsys.readouterr().out).count("still in [step") == 0:
        await asyncio.sleep(0.01)
    assert re.search(r"life: still in \[step \d+/\d+\] warm, \d+ s", output)
    assert progress.step == "warm"
    assert 0 < progress.number < progress.count
    assert [name for name, _ in progress.done][-1] == "bind"
    assert progress.seconds >= progress.step_seconds > 0
    assert re.fullmatch(r"\[step \d+/\d+\] warm, for \d+\.\d s", str(progress))
    assert not progress.finished
    go_on.set()
    await entering
    assert progress.finished
    assert len(progress.done) == progress.number == progress.count
    await server.stop()
    with pytest.raises(NotRunning):
        _ = server.port


async def test_the_places_of_steps_in_the_documents_are_those_of_the_example() -> None:
    from examples.orders.app import server

    parts = Parts(server.settings, Recorder())
    parts.audit = cast(AuditLog, object())
    names = [step.name for step in plan(parts, []) if step.name]
    told = {
        (int(number), int(count), name)
        for path in ("README.md", "docs/life.md")
        for number, count, name in re.findall(r"^orders.*\[step (\d+)/(\d+)\] (\w+)", Path(path).read_text(), re.M)
    }
    assert told == {(names.index(name) + 1, len(names), name) for name in ("mysql", "upstreams")}


@pytest.mark.parametrize("where", ["pre-run", "post-run", "exit", "restart"])
async def test_a_step_or_hook_that_stops_the_server_waits_for_nobody_who_waits_for_it(where: str) -> None:
    async def stops() -> None:
        await server.stop()

    options = {
        "pre-run": [hrpc.with_pre_run(stops)],
        "post-run": [hrpc.with_post_run(stops)],
        "exit": [hrpc.with_exit_listeners(stops)],
        "restart": [hrpc.with_restart_listeners(stops)],
    }
    server = a_server(*options[where], hrpc.with_graceful_stop(step_limit=60))
    async with asyncio.timeout(30):
        if where == "pre-run":
            with pytest.raises(NotRunning, match="was stopped while it started"):
                await server.__aenter__()
        else:
            async with server:
                running = server._running
                assert running is not None
                if where == "restart":
                    running.request_restart()
                    await server.wait_for_shutdown()
            assert not running.parts.hurry.is_set()
