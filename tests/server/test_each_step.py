"""Every step of a life in turn, whichever there are: it fails, it hangs, or the stop comes while it is entered."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import SpanProcessor

import hrpc
from hrpc.errors import NotRunning, StartError, StopError
from hrpc.plugin import Announced
from hrpc.server.steps import Step, Steps
from hrpc.testing import DevConsul
from tests import agent
from tests.eventually import eventually
from tests.faulty import AtStart, AtStop, faulty, name_at_start
from tests.server.hosting import Scripted
from tests.server.recorded import Recorded, a_server

HANGS_FOR = 0.05
STEP_LIMIT = 20.0
"""Seconds that all other steps have, none of which is at fault when the machine is busy."""
ENDS_WITHIN = 30.0
"""Seconds for one life with a fault, on a machine with much else to do."""
KEPT = {"kept", "run"}
"""The snapshot, and the folder for sockets, which both are for the next life."""
HAVE_LIMITS_OF_THEIR_OWN = {
    "drain",
    "drain delay",
    "background tasks",
    "after all calls",
    "exit hooks",
    "release services",
    "plugins after drain",
}
"""Steps that the limit of a step does not hold for: tests/server has one of its own for what hangs in each."""


class Plain:
    name = "plain"
    depends_on = ()

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def announce(self, server: Announced) -> AsyncIterator[None]:
        server.when_drained(lambda: None)
        yield


class Whole:
    """Lives of a server with every part that there is, in this process, and what they leave in it."""

    def __init__(self, consul: DevConsul, folders: Sequence[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened: list[str] = []
        self._consul = consul
        self._folders = folders
        self._monkeypatch = monkeypatch

    def server(self) -> hrpc.Server:
        return a_server(
            hrpc.with_consul(hrpc.Consul(address=self._consul.address)),
            hrpc.with_snapshot(str(self._folders[0] / "kept")),
            hrpc.with_upstreams("life"),
            hrpc.with_databases(Recorded(self.happened)),
            hrpc.with_plugins(Plain()),
            hrpc.with_tracing(processors=(SpanProcessor(),)),
            hrpc.with_health_check(0),
            hrpc.with_metrics(0),
            hrpc.with_concurrency_limit(1000, lag=0.5),
            hrpc.with_pre_run(lambda: None, name="before all calls"),
            hrpc.with_services(Scripted("beside")),
            hrpc.with_post_run(lambda: None, name="after all calls"),
            hrpc.with_exit_listeners(lambda: self.happened.append("hook")),
            hrpc.with_graceful_stop(drain_delay=0, grace=HANGS_FOR, step_limit=STEP_LIMIT),
        )

    async def steps(self) -> list[Step]:
        """All steps of a life."""
        found: list[Step] = []
        with self._monkeypatch.context() as patched:
            patched.setattr(Steps, "enter_all", faulty(None, "", found.extend))
            async with self.server():
                pass
        assert len(set(map(name_at_start, found))) == len({step.left_as for step in found}) == len(found)
        return found

    @asynccontextmanager
    async def with_fault(self, fault: AtStart | AtStop, at: str) -> AsyncIterator[asyncio.Event]:
        """A life in this context has the fault, and leaves nothing. Gives what tells that it hangs."""
        before, self.happened[:] = await self.present(), []
        hanging = asyncio.Event()
        with self._monkeypatch.context() as patched:
            limit = HANGS_FOR if fault == "hangs" else None
            patched.setattr(Steps, "enter_all", faulty(fault, at, told=hanging.set, limit=limit))
            async with asyncio.timeout(ENDS_WITHIN):
                yield hanging
        assert self.happened in (["open", "hook", "close"], ["open", "close"], []), at
        present: list[set[str]] = []

        async def is_as_before() -> bool:
            # What gRPC has closed, it lets go of a moment later.
            present[:] = [await self.present()]
            return present[0] <= before

        try:
            await eventually(is_as_before, ENDS_WITHIN)
        except TimeoutError:
            raise AssertionError(f"{fault} at {at!r} has left {present[0] - before}") from None

    async def present(self) -> set[str]:
        """What a life could leave: tasks, files, listening sockets, registrations."""
        tasks = {task.get_name() for task in asyncio.all_tasks()}
        files = {str(path) for folder in self._folders for path in folder.iterdir() if path.name not in KEPT}
        entries = await agent.instances(self._consul.address, "life")
        return tasks | files | listening() | {entry["Service"]["ID"] for entry in entries}


def listening() -> set[str]:
    """The sockets of this process that listen, by inode."""
    own = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed by a thread of gRPC meanwhile
            own.add(os.readlink(path))
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket {line[1]}" for line in table if line[3] == "0A" and f"socket:[{line[9]}]" in own}


@pytest.fixture
async def whole(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    with tempfile.TemporaryDirectory(prefix="whole-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("HRPC_RUN_DIR", folder + "/run")
        run = Path(folder, "run")
        run.mkdir(mode=0o700)
        async with DevConsul() as consul:
            yield Whole(consul, [Path(folder), run], monkeypatch)


async def test_a_start_that_fails_at_any_step_says_at_which_and_leaves_nothing(whole: Whole) -> None:
    for step in await whole.steps():
        async with whole.with_fault("fails", name_at_start(step)):
            with pytest.raises(StartError) as caught:
                await whole.server().__aenter__()
        assert caught.value.step == name_at_start(step)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_start_that_hangs_at_any_step_ends_when_it_is_told_to_stop_and_leaves_nothing(whole: Whole) -> None:
    for step in await whole.steps():
        async with whole.with_fault("waits", name_at_start(step)) as hanging:
            server = whole.server()
            starting = asyncio.create_task(server.__aenter__())
            await hanging.wait()
            await server.stop()
            with pytest.raises(NotRunning, match="was stopped while it started"):
                await starting


async def test_a_release_that_fails_at_any_step_is_named_and_all_others_are_made(whole: Whole) -> None:
    for step in await whole.steps():
        async with whole.with_fault("raises", step.left_as):
            with pytest.raises(StopError) as caught:
                async with whole.server():
                    pass
        (error,) = caught.value.exceptions
        assert isinstance(error, ZeroDivisionError)
        assert f"of the stop, {step.left_as}" in error.__notes__[0]


async def test_a_release_that_hangs_at_any_step_is_abandoned_at_its_limit_and_all_others_are_made(
    whole: Whole,
) -> None:
    steps = await whole.steps()
    assert {step.left_as for step in steps if step.left_as and not step.limited} == HAVE_LIMITS_OF_THEIR_OWN
    for step in steps:
        if step.limited:
            async with whole.with_fault("hangs", step.left_as):
                with pytest.raises(StopError) as caught:
                    async with whole.server():
                        pass
            (error,) = caught.value.exceptions
            assert str(error).endswith(f"{step.left_as}: not done within {HANGS_FOR:g} s, abandoned")
