"""The life of a service that is kept registered, and the order of its stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sidecar_service import UP, Remembering, Scripted, options

from hrpc.errors import OptionError
from hrpc_sidecar import Agent, AgentRunError, Controller, Runner, SidecarApiError
from hrpc_sidecar.testing import SidecarAgent
from tests.eventually import eventually


class Life:
    """An agent of a service, with its parts replaced by such that remember."""

    def __init__(self, source: Scripted | None = None, **settings: Any) -> None:
        self.client = Remembering()
        self.calls = self.client.calls
        self.source = source or Scripted(UP, ends=False)
        self.serving = asyncio.Event()
        self.stopped = asyncio.Event()
        settings.setdefault("serve", self.serve)
        settings.setdefault("shutdown", self.shutdown)
        self.agent = Agent(options(), services=["/shop.Orders/Get"], **settings)
        self.agent.controller = Controller(self.client, self.agent.node)
        self.agent.runner = Runner(self.source, self.agent.controller)

    async def serve(self) -> None:
        self.serving.set()
        try:
            await self.stopped.wait()
        finally:
            self.calls.append("served")

    async def shutdown(self) -> None:
        self.calls.append("shutdown")
        self.stopped.set()

    async def until_registered(self) -> None:
        async def registered() -> bool:
            return self.agent.status().registered and (self.agent._serve is None or self.serving.is_set())

        await eventually(registered)


async def run_and_stop(life: Life) -> None:
    running = asyncio.create_task(life.agent.run())
    await life.until_registered()
    life.agent.stop()
    await asyncio.wait_for(running, 30)


async def test_a_stop_drains_waits_stops_serving_and_deregisters() -> None:
    life = Life(grace_period=0.2)
    began = asyncio.get_running_loop().time()
    await run_and_stop(life)
    assert life.calls == ["register", "drain 0.2", "shutdown", "served", "deregister"]
    assert asyncio.get_running_loop().time() - began >= 0.2
    assert not life.agent.status().registered


async def test_a_stop_of_a_service_that_serves_elsewhere_waits_as_well() -> None:
    life = Life(grace_period=0.2, serve=None)
    began = asyncio.get_running_loop().time()
    await run_and_stop(life)
    assert life.calls == ["register", "drain 0.2", "shutdown", "deregister"]
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_without_a_grace_period_there_is_no_drain() -> None:
    life = Life()
    await run_and_stop(life)
    assert life.calls == ["register", "shutdown", "served", "deregister"]


async def test_without_a_shutdown_serving_is_cancelled() -> None:
    life = Life(shutdown=None)
    await run_and_stop(life)
    assert life.calls == ["register", "served", "deregister"]


async def test_a_service_that_ends_is_deregistered() -> None:
    life = Life(grace_period=3600)
    running = asyncio.create_task(life.agent.run())
    await life.until_registered()
    life.stopped.set()
    await asyncio.wait_for(running, 30)
    assert life.calls == ["register", "served", "drain 3600", "shutdown", "deregister"]


async def test_a_cancelled_run_stops_in_the_same_order() -> None:
    life = Life(grace_period=0.05)
    running = asyncio.create_task(life.agent.run())
    await life.until_registered()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert life.calls == ["register", "drain 0.05", "shutdown", "served", "deregister"]


async def test_a_stop_that_is_cancelled_too_leaves_nothing_behind() -> None:
    life = Life(grace_period=60)
    running = asyncio.create_task(life.agent.run())
    await life.until_registered()
    running.cancel()

    async def draining() -> bool:
        return "drain 60" in life.calls

    await eventually(draining)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()

    async def ended() -> bool:
        return life.calls[-1] == "served"

    await eventually(ended)


async def test_a_stop_that_comes_before_the_run_has_begun_ends_it() -> None:
    life = Life()
    running = asyncio.create_task(life.agent.run())
    life.agent.stop()
    await asyncio.wait_for(running, 30)
    assert life.calls[-1] == "deregister"


@pytest.mark.parametrize("failing", [{"drain"}, {"drain", "deregister"}])
async def test_a_failed_drain_skips_nothing(failing: set[str]) -> None:
    life = Life(grace_period=3600)
    life.client.failing |= failing
    with pytest.raises(AgentRunError) as raised:
        await run_and_stop(life)
    assert life.calls == ["register", "drain 3600", "shutdown", "served", "deregister"]
    assert raised.value.stage == "agent_shutdown"
    assert isinstance(raised.value.__cause__, SidecarApiError)
    assert raised.value.__cause__.path == "/drain"
    assert len(getattr(raised.value, "__notes__", [])) == len(failing) - 1


async def failing() -> None:
    raise LookupError("broken")


@pytest.mark.parametrize(("part", "stage"), [("serve", "serve"), ("shutdown", "shutdown")])
async def test_a_stage_that_fails_is_named_and_the_others_happen(part: str, stage: str) -> None:
    settings: dict[str, Callable[[], Awaitable[object]]] = {part: failing}
    life = Life(**settings)
    running = asyncio.create_task(life.agent.run())

    async def registered() -> bool:
        return life.agent.status().register_replay_count == 1 or running.done()

    await eventually(registered)
    life.agent.stop()
    life.stopped.set()
    with pytest.raises(AgentRunError, match=f"{stage}: LookupError") as raised:
        await asyncio.wait_for(running, 30)
    assert raised.value.stage == stage
    assert isinstance(raised.value.__cause__, LookupError)
    assert life.calls[-1] == "deregister"


async def test_a_watch_that_fails_ends_the_service() -> None:
    class Broken(Scripted):
        async def subscribe(self):  # type: ignore[no-untyped-def]
            yield UP
            raise LookupError("no agent")

    life = Life(Broken())
    with pytest.raises(AgentRunError, match="lifecycle: LookupError") as raised:
        await asyncio.wait_for(life.agent.run(), 30)
    assert raised.value.stage == "lifecycle"
    assert isinstance(raised.value.__cause__, LookupError)
    assert life.calls == ["register", "shutdown", "served", "deregister"]


async def test_a_source_with_an_end_leaves_the_service_alone() -> None:
    life = Life(Scripted(UP))
    running = asyncio.create_task(life.agent.run())
    await life.source.used_up.wait()
    await life.until_registered()
    await asyncio.sleep(0.02)
    assert not running.done()
    life.stopped.set()
    await asyncio.wait_for(running, 30)
    assert life.calls == ["register", "served", "shutdown", "deregister"]


async def test_a_service_that_does_not_end_is_cancelled_at_the_limit() -> None:
    async def nothing() -> None:
        pass

    life = Life(shutdown=nothing, shutdown_limit=0.05)
    with pytest.raises(AgentRunError, match=r"serve has not ended within 0\.05 s") as raised:
        await run_and_stop(life)
    assert raised.value.stage == "shutdown"
    assert life.calls == ["register", "served", "deregister"]


async def test_a_service_that_was_never_taken_may_fail_to_deregister() -> None:
    life = Life(Scripted(ends=False))
    life.client.failing.add("deregister")
    running = asyncio.create_task(life.agent.run())
    await life.serving.wait()
    life.agent.stop()
    await asyncio.wait_for(running, 30)
    assert life.calls == ["shutdown", "served", "deregister"]


async def test_nothing_registers_after_the_watch_has_ended() -> None:
    life = Life(grace_period=0.2)
    running = asyncio.create_task(life.agent.run())
    await life.until_registered()
    life.agent.stop()

    async def draining() -> bool:
        return "drain 0.2" in life.calls

    await eventually(draining)
    life.source.more.put_nowait(UP)  # the agent is back, in the middle of the stop
    await asyncio.wait_for(running, 30)
    assert life.calls.count("register") == 1


async def test_what_is_raised_while_it_is_watched_is_raised_as_it_is() -> None:
    life = Life()
    with pytest.raises(LookupError, match="broken"):
        async with life.agent.watching():
            await life.agent.controller.registered()
            raise LookupError("broken")
    assert life.calls == ["register"]


async def test_a_watch_that_fails_ends_what_is_done_meanwhile() -> None:
    class Broken(Scripted):
        async def subscribe(self):  # type: ignore[no-untyped-def]
            yield UP
            raise LookupError("no agent")

    life = Life(Broken())
    with pytest.raises(LookupError, match="no agent"):
        async with asyncio.timeout(30), life.agent.watching():
            await asyncio.Event().wait()


async def test_a_whole_life_with_an_agent() -> None:
    async with SidecarAgent() as sidecar:
        agent = Agent(options(), base_url=sidecar.base_url, grace_period=0.05)
        running = asyncio.create_task(agent.run())
        await asyncio.wait_for(agent.controller.registered(), 30)
        assert sidecar.nodes["orders-1"]["service"]["name"] == "orders"
        agent.stop()
        await asyncio.wait_for(running, 30)
        assert [one.path for one in sidecar.received] == ["/watch", "/register", "/drain", "/deregister"]
        assert sidecar.nodes == {}


@pytest.mark.parametrize(
    "settings", [{"grace_period": -1}, {"reconnect_interval": 0}, {"request_timeout": 0}, {"idle_limit": 0}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(settings))}="):
        Agent(options(), **settings)  # type: ignore[arg-type]
