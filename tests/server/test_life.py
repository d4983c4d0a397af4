"""A life inside a running event loop: the order of its steps, and what happens when one of them fails or hangs."""

from __future__ import annotations

import asyncio
import re
import threading
import time

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import _runtime, life, listener
from hrpc.errors import AlreadyRunning, HrpcError, NotRunning, StartError, StepTimeout, StopError
from hrpc.testing.servers import reserved_port
from tests.echo import add_echo, call
from tests.server.recorded import LOCAL, Recorded, a_server


def timeline(output: str, word: str) -> list[str]:
    """The steps, by name, in the line of the log with this word."""
    line = next(line for line in output.splitlines() if word in line)
    return re.findall(r"([a-z][a-z ]*) \d+\.\d{3}(?:, |\")", line.partition(" s: ")[2])


async def test_steps_are_left_in_reverse_and_both_timelines_are_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    happened: list[str] = []
    options = (hrpc.with_databases(Recorded(happened)), hrpc.with_health_check(0), hrpc.with_metrics(0))
    async with a_server(*options):
        life.when_exit(lambda: happened.append("hook"))
    assert happened == ["open", "hook", "close"]
    output = capsys.readouterr().out
    steps = [
        "control",
        "recorded",
        "background tasks",
        "health checkers",
        "exit hooks",
        "health",
        "metrics",
        "bind",
        "serve",
        "ready",
    ]
    assert timeline(output, "started in") == steps
    assert timeline(output, "has stopped in") == [
        *({"ready": "not ready", "serve": "drain", "bind": "close port"}.get(step, step) for step in reversed(steps)),
        "log flushed",
    ]


async def test_a_server_can_be_started_again_and_is_not_there_in_between() -> None:
    server = a_server()
    ports = set()
    for _ in range(3):
        with pytest.raises(NotRunning, match="has no port"):
            _ = server.port
        async with server, grpc.aio.insecure_channel(server.address) as channel:
            ports.add(server.port)
            assert await call(channel, "Echo") == b"x"
    listener.unused("test", "127.0.0.1", ports.pop(), "")


async def test_what_a_running_server_does_not_take_is_refused() -> None:
    async with a_server() as server:
        with pytest.raises(AlreadyRunning, match="'life' is running"):
            add_echo(server)
        with pytest.raises(AlreadyRunning, match="'life' is running"):
            server.apply(hrpc.with_metrics())
        with pytest.raises(AlreadyRunning, match="'life' is running"):
            await server.__aenter__()
        with pytest.raises(AlreadyRunning, match="the server 'life' runs in this event loop already"):
            async with a_server():
                pass
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo") == b"x"


async def test_exit_hooks_run_last_registered_first_sync_and_async_and_one_that_fails_stops_none() -> None:
    ran: list[str] = []

    async def last() -> None:
        ran.append("last")

    def fails() -> None:
        ran.append("fails")
        raise ZeroDivisionError

    async def exits() -> None:
        ran.append("exits")
        raise SystemExit(7)

    def first() -> None:
        ran.append("first")

    life.when_exit(last)
    server = a_server(hrpc.with_exit_listeners(first))
    with pytest.raises(StopError) as caught:
        async with server:
            life.when_exit(fails)
            life.when_exit(exits)
    assert ran == ["exits", "fails", "first", "last"]
    assert [type(error) for error in caught.value.exceptions] == [RuntimeError, ZeroDivisionError]
    assert "fails" in caught.value.exceptions[1].__notes__[0]


async def test_a_hook_of_a_module_runs_at_the_end_of_every_life_one_of_a_life_only_then() -> None:
    ran: list[str] = []
    life.when_exit(lambda: ran.append("module"))
    server = a_server()
    async with server:
        life.when_exit(lambda: ran.append("life"))
    async with server:
        pass
    assert ran == ["life", "module", "module"]


async def test_a_hook_that_hangs_is_abandoned_at_its_limit_and_named() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    blocked = asyncio.Event()
    loop = asyncio.get_running_loop()
    release = threading.Event()

    def blocks() -> None:
        loop.call_soon_threadsafe(blocked.set)
        release.wait(60)

    began = time.monotonic()
    with pytest.raises(StopError) as caught:
        async with a_server(hrpc.with_graceful_stop(step_limit=0.5)):
            life.when_exit(hangs)
            life.when_exit(blocks)
    release.set()
    assert blocked.is_set()
    assert time.monotonic() - began < 30
    assert all(isinstance(error, StepTimeout) for error in caught.value.exceptions)
    assert re.search(r"blocks: not done within 0.5 s", str(caught.value.exceptions[0]))
    assert re.search(r"hangs: not done within 0.5 s", str(caught.value.exceptions[1]))


async def test_hooks_can_use_the_pools() -> None:
    database = Recorded([])
    seen: list[object] = []
    async with a_server(hrpc.with_databases(database)):
        life.when_exit(lambda: seen.append(database.slot.get()))

        async def in_loop() -> None:
            seen.append(database.slot.get())

        life.when_exit(in_loop)
    assert seen == ["the client"] * 2
    with pytest.raises(NotRunning):
        database.slot.get()


@pytest.mark.parametrize("step", ["open", "close"])
async def test_a_step_that_fails_is_named_and_everything_else_is_released(step: str) -> None:
    happened: list[str] = []
    error: type[HrpcError] = StartError if step == "open" else StopError
    with pytest.raises(error) as caught:
        async with a_server(hrpc.with_databases(Recorded(happened, fails_at=step)), hrpc.with_health_check(0)):
            life.when_exit(lambda: happened.append("hook"))
    if isinstance(caught.value, StartError):
        assert caught.value.step == "recorded"
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert happened == ["open"]
    elif isinstance(caught.value, StopError):
        assert "recorded" in caught.value.exceptions[0].__notes__[0]
        assert happened == ["open", "hook", "close"]
    async with a_server():  # the loop is free again
        pass


async def test_a_release_that_hangs_is_abandoned_and_the_next_ones_go_on() -> None:
    happened: list[str] = []
    first = Recorded(happened, name="first")
    hanging = Recorded(happened, hangs_at="close", name="hanging")
    with pytest.raises(StopError) as caught:
        async with a_server(hrpc.with_databases(first, hanging), hrpc.with_graceful_stop(step_limit=0.5)):
            pass
    assert [str(error) for error in caught.value.exceptions] == [
        "[step 7/10] hanging: not done within 0.5 s, abandoned"
    ]
    assert happened == ["open", "open", "close", "close"]


async def test_a_start_that_is_cancelled_releases_what_it_had() -> None:
    happened: list[str] = []
    opened = Recorded(happened, name="opened")
    server = a_server(hrpc.with_databases(opened, Recorded(happened, hangs_at="open")))
    starting = asyncio.create_task(server.__aenter__())
    while len(happened) < 2:
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert happened == ["open", "open", "close"]


async def test_a_life_that_its_loop_cancels_releases_everything_and_ends_as_cancelled() -> None:
    happened: list[str] = []
    server = a_server(hrpc.with_databases(Recorded(happened)))
    await server.__aenter__()
    life_of_it = server._life
    assert life_of_it is not None
    life_of_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await life_of_it
    assert happened == ["open", "close"]
    with pytest.raises(asyncio.CancelledError):
        await server.stop()


async def test_a_failed_start_leaves_no_port_open(free_port: int) -> None:
    happened: list[str] = []
    with listener.bind("test", "127.0.0.1", free_port, "") as taken, reserved_port() as health:
        taken.listen()
        options = (hrpc.with_listen_port(free_port, host="127.0.0.1"), hrpc.with_health_check(health))
        with pytest.raises(StartError, match=rf"bind: gRPC: 127.0.0.1:{free_port} is in use .* hrpc.with_listen_port"):
            async with a_server(hrpc.with_databases(Recorded(happened)), *options):
                pass
        assert happened == ["open", "close"]
        listener.unused("test", "127.0.0.1", health, "")


def test_two_servers_run_in_two_event_loops_side_by_side() -> None:
    names: dict[str, str] = {}
    together = threading.Barrier(2, timeout=60)

    def one(name: str) -> None:
        async def main() -> None:
            server = hrpc.new_server(hrpc.with_server_name(name), LOCAL)
            async with server:
                await asyncio.to_thread(together.wait)
                runtime = _runtime.current()
                assert runtime is not None
                names[name] = runtime.server_name
                await asyncio.to_thread(together.wait)

        asyncio.run(main())

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == {"a": "a", "b": "b"}


async def test_stop_from_a_background_task_asks_for_it_and_does_not_wait_for_itself() -> None:
    server = a_server(hrpc.with_graceful_stop(step_limit=60))
    async with asyncio.timeout(30):
        async with server:
            quitting = hrpc.go(server.stop())
            assert server._life is not None
            await asyncio.wait({server._life})
        assert quitting.done()


async def test_a_start_that_somebody_stops_does_not_look_like_a_success() -> None:
    server = a_server(hrpc.with_databases(Recorded([], hangs_at="open")))
    starting = asyncio.create_task(server.__aenter__())
    while server._running is None:
        await asyncio.sleep(0)
    await server.stop()
    with pytest.raises(NotRunning, match="was stopped while it started"):
        await starting


async def test_serve_inside_a_running_loop_says_what_to_use() -> None:
    with pytest.raises(AlreadyRunning, match="use `async with server:`"):
        a_server().serve()


@pytest.mark.parametrize("raised", [StopIteration(), SystemExit(3), BaseExceptionGroup("all", [KeyboardInterrupt()])])
@pytest.mark.parametrize("in_thread", [True, False])
async def test_whatever_a_hook_raises_is_reported_at_once(raised: BaseException, in_thread: bool) -> None:
    def in_a_thread() -> None:
        raise raised

    async def in_the_loop() -> None:
        raise raised

    with pytest.raises(StopError) as caught:
        async with asyncio.timeout(30), a_server(hrpc.with_graceful_stop(step_limit=60)):
            life.when_exit(in_a_thread if in_thread else in_the_loop)
    (error,) = caught.value.exceptions
    assert isinstance(error, RuntimeError)
