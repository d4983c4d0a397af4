"""A hosted service that fails, crashes or hangs: what is told of it, and what becomes of the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import hrpc
from hrpc.errors import (
    HostedServiceError,
    ManagerError,
    NotRunning,
    PanicError,
    RunEnded,
    ServicesErrors,
    StartError,
    StepTimeout,
)
from tests.process import running, script
from tests.server.hosting import SERVICE_SOURCE, Scripted, fails, hangs, hosting, swallows
from tests.server.recorded import a_server


async def test_a_set_up_that_fails_is_told_with_its_service_and_nothing_runs() -> None:
    happened: list[str] = []
    services = [
        Scripted("fine", happened),
        Scripted("broken", happened, {"setup": fails}),
        Scripted("also", happened, {"setup": fails}),
        Scripted("slow", happened, {"setup": hangs}),
    ]
    with pytest.raises(ManagerError, match="set-up failed: service 'broken': ZeroDivisionError") as caught:
        async with a_server(hosting(*services)):
            pass
    error = caught.value
    assert error.setup is not None
    assert [one.service_id for one in error.setup.errors] == ["broken", "also"]
    assert all(isinstance(one.error, ZeroDivisionError) for one in error.setup.errors)
    assert error.run is None
    assert error.shutdown is None
    assert isinstance(error.__cause__, StartError)
    assert not any(what.endswith("run") for what in happened)
    assert happened[-1] == "fine release"


async def test_a_run_that_fails_stops_the_server_and_all_other_services() -> None:
    happened: list[str] = []
    fatal = asyncio.Event()

    async def ends() -> None:
        await fatal.wait()
        raise ZeroDivisionError

    with pytest.raises(ManagerError, match="run failed: service 'two': ZeroDivisionError") as caught:
        async with a_server(hosting(Scripted("one", happened), Scripted("two", happened, {"run": ends}))) as server:
            fatal.set()
            async with asyncio.timeout(30):
                await server.wait_for_shutdown()
            assert "one cancelled" in happened
            assert "two release" in happened
    (error,) = caught.value.of("two")
    assert isinstance(error.error, ZeroDivisionError)
    assert caught.value.of("one") == ()


async def test_a_run_that_returns_by_itself_is_an_error_as_well() -> None:
    with pytest.raises(ManagerError) as caught:
        async with a_server(hosting(Scripted("one", does={"run": lambda: None}))) as server:
            await server.wait_for_shutdown()
    assert isinstance(caught.value.of("one")[0].error, RunEnded)


async def test_a_run_that_is_no_coroutine_function_is_told_of() -> None:
    class Sync:
        id = "sync"

        async def setup(self) -> None: ...

        def run(self) -> None: ...

    with pytest.raises(ManagerError) as caught:
        async with a_server(hosting(Sync())) as server:
            await server.wait_for_shutdown()
    assert "run() gave None: it has to be a coroutine function" in str(caught.value.of("sync")[0].error)


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("stage", ["setup", "run", "release"])
async def test_a_crash_becomes_a_panic_error_and_the_loop_goes_on(stage: str, raised: type[BaseException]) -> None:
    def crashes() -> None:
        raise raised

    with pytest.raises(ManagerError) as caught:
        async with a_server(hosting(Scripted("one", does={stage: crashes}))) as server:
            if stage == "run":
                await server.wait_for_shutdown()
    (error,) = caught.value.of("one")
    assert isinstance(error.error, PanicError)
    assert isinstance(error.error.__cause__, raised)


async def test_errors_of_all_stages_are_found_as_their_types() -> None:
    services = [
        Scripted("one", does={"run": fails, "release": fails}),
        Scripted("two", does={"run": fails}),
    ]
    found: list[str] = []
    try:
        async with a_server(hosting(*services)) as server:
            await server.wait_for_shutdown()
    except* HostedServiceError as group:
        (manager,) = [group] if isinstance(group, ManagerError) else []
        assert manager.run is not None
        assert isinstance(manager.run, ServicesErrors)
        assert manager.shutdown is not None
        found += [error.service_id for error in manager.run.errors]
        found += [f"{error.service_id} at its end" for error in manager.shutdown.errors]
    assert found == ["one", "two", "one at its end"]


async def test_the_reason_of_a_task_group_that_a_service_has_opened_is_its_error() -> None:
    failing = asyncio.Event()

    class Grouped:
        id = "grouped"

        @asynccontextmanager
        async def setup(self) -> AsyncIterator[None]:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.work())
                yield

        async def work(self) -> None:
            await failing.wait()
            raise ZeroDivisionError

        async def run(self) -> None:
            await asyncio.Event().wait()

    with pytest.raises(ManagerError) as caught:
        async with a_server(hosting(Grouped())) as server:
            failing.set()
            await server.wait_for_shutdown()
    (error,) = caught.value.of("grouped")
    assert isinstance(error.error, ExceptionGroup)
    assert isinstance(error.error.exceptions[0], ZeroDivisionError)


@pytest.mark.parametrize("stage", ["setup", "cancelled", "release"])
async def test_what_hangs_is_abandoned_after_the_longest_shutdown_and_told(stage: str) -> None:
    happened: list[str] = []
    other = Scripted("other", happened)
    services = hosting(other, Scripted("stuck", happened, {stage: swallows}), max_shutdown=0.5)
    server = a_server(services, hrpc.with_graceful_stop(step_limit=0.5))
    starting = asyncio.create_task(server.__aenter__())
    while f"stuck {'setup' if stage == 'setup' else 'run'}" not in happened:
        await asyncio.sleep(0)
    began = time.monotonic()
    with pytest.raises(ManagerError) as caught:
        await server.stop()
    if stage == "setup":
        with pytest.raises((ManagerError, NotRunning)):
            await starting
    assert time.monotonic() - began < 30
    assert caught.value.shutdown is not None
    (error,) = caught.value.shutdown.errors
    assert error.service_id == "stuck"
    assert isinstance(error.error, StepTimeout)
    assert "other release" in happened


async def test_a_run_that_gives_in_to_the_second_cancellation_still_releases_what_it_holds() -> None:
    service = Scripted("slow", does={"cancelled": hangs})
    with pytest.raises(ManagerError, match="service 'slow': run: not done within") as caught:
        async with a_server(hosting(service, max_shutdown=0.05)):
            await service.runs.wait()
    assert caught.value.run is None
    assert service.happened[-1] == "slow release"


@pytest.mark.parametrize("limit", [None, -1])
async def test_without_a_limit_a_stop_waits_until_it_is_told_to_hurry(limit: float | None) -> None:
    service = Scripted("slow", does={"cancelled": hangs})
    server = a_server(hosting(service, max_shutdown=limit))
    await server.__aenter__()
    await service.runs.wait()
    assert server._running is not None
    stopping = asyncio.create_task(server.stop())
    while service.happened[-1] != "slow cancelled":
        await asyncio.sleep(0)
    server._running.request_stop("SIGTERM")
    with pytest.raises(ManagerError, match="service 'slow': run: not done within"):
        await stopping


async def test_a_service_that_fails_ends_the_process_with_1_and_its_traceback(tmp_path: Path) -> None:
    options = ('hrpc.with_listen_port(0, "127.0.0.1")', "hrpc.with_services(Worker())")
    async with running(script(tmp_path, *options, before=SERVICE_SOURCE % "1 / 0")) as process:
        assert await process.ended() == 1
        assert "set-up failed: service 'worker': ZeroDivisionError" in process.output
        assert "Traceback" in process.output
        assert "did not start" in process.output
