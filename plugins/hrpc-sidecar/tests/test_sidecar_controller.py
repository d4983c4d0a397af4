"""Registering when the agent has connected, and knowing how it stands."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sidecar_service import BEAT, UP, Remembering, Scripted, down, node

from hrpc_sidecar import (
    ConnectionEvent,
    Controller,
    RegisterReplayError,
    Runner,
    SidecarApiError,
    Status,
    WatchEventParseError,
    WatchHttpStatusError,
    WatchSilent,
    WatchStreamClosed,
    WatchUnreachable,
)
from hrpc_sidecar.status import error_kind
from tests.eventually import eventually

CLOSED = WatchStreamClosed("the stream has ended")


async def test_connect_beat_disconnect_connect_is_two_registers_and_one_disconnect() -> None:
    client = Remembering()
    controller = Controller(client, node())
    errors: list[Exception] = []
    await Runner(Scripted(UP, BEAT, down(CLOSED), UP), controller, errors.append).run()
    assert client.calls == ["register", "register"]
    status = controller.status()
    assert (status.register_replay_count, status.disconnect_count) == (2, 1)
    assert status.connected
    assert status.registered
    assert errors == [CLOSED]


async def test_a_beat_is_only_observed() -> None:
    client = Remembering()
    controller = Controller(client, node())
    await Runner(Scripted(BEAT), controller).run()
    assert client.calls == []
    status = controller.status()
    assert (status.last_event_type, status.last_event_id) == ("heartbeat", "2")
    assert status == Status(last_event_type="heartbeat", last_event_id="2", last_event_at=status.last_event_at)


async def test_a_status_tells_what_has_happened() -> None:
    client = Remembering()
    controller = Controller(client, node())
    assert controller.status() == Status()
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    await Runner(Scripted(ConnectionEvent(type="connected", id="9", generated_at=at)), controller).run()
    status = controller.status()
    assert (status.last_service_name, status.last_service_port) == ("orders", 9090)
    assert (status.last_event_type, status.last_event_id, status.last_event_at) == (
        "connected",
        "9",
        "2026-01-02T02:04:05Z",
    )
    assert abs(datetime.fromisoformat(status.last_connected_at) - datetime.now(UTC)) < timedelta(minutes=1)
    assert status.last_connected_at.endswith("Z")
    assert status.last_disconnected_at == status.last_error_at == ""
    await Runner(Scripted(down(CLOSED)), controller).run()
    later = controller.status()
    assert not later.connected
    assert not later.registered
    assert (later.last_error_kind, later.last_error) == ("watch_stream_closed", "the stream has ended")
    assert later.last_disconnected_at.endswith("Z")
    assert later.last_error_at.endswith("Z")
    assert status.connected, "a snapshot does not change"
    assert json.loads(json.dumps(later.as_dict()))["disconnect_count"] == 1


async def test_a_status_may_be_read_in_any_thread() -> None:
    controller = Controller(Remembering(), node())
    read: list[Status] = []
    stopped = threading.Event()

    def reading() -> None:
        while not stopped.is_set():
            read.append(controller.status())

    thread = threading.Thread(target=reading)
    thread.start()
    try:
        for _ in range(300):
            await Runner(Scripted(UP, down(CLOSED)), controller).run()
            controller.observe_event(BEAT)
    finally:
        stopped.set()
        thread.join()
    counts = [status.disconnect_count for status in read]
    assert counts == sorted(counts)
    assert all(status.register_replay_count == status.disconnect_count + 1 for status in read if status.registered)
    assert controller.status().last_event_type == "heartbeat", "no snapshot of a moment ago is kept"
    assert controller.status().disconnect_count == 300


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CLOSED, "watch_stream_closed"),
        (WatchSilent("http://agent/watch", 60), "watch_stream_closed"),
        (WatchHttpStatusError("http://agent/watch", 503), "watch_http_status"),
        (WatchEventParseError("connected", "1", "{", "no JSON"), "watch_event_parse"),
        (RegisterReplayError("orders", 1, SidecarApiError("POST", "/register", 502)), "register_replay"),
        (SidecarApiError("POST", "/drain", 502), "sidecar_api"),
        (WatchUnreachable("GET http://agent/watch: refused"), "runtime_error"),
        (ValueError("x"), "runtime_error"),
    ],
)
def test_each_error_has_its_kind(error: Exception, kind: str) -> None:
    assert error_kind(error) == kind


async def test_a_failed_register_is_tried_again_without_a_disconnect() -> None:
    client = Remembering()
    client.failing.add("register")
    controller = Controller(client, node())
    errors: list[Exception] = []
    running = asyncio.create_task(
        Runner(Scripted(UP, ends=False), controller, errors.append, retry_interval=0.01).run()
    )
    try:

        async def failed_often() -> bool:
            return controller.status().register_replay_failure_count >= 3

        await eventually(failed_often)
        status = controller.status()
        assert status.connected
        assert not status.registered
        assert status.last_error_kind == "register_replay"
        error = errors[0]
        assert isinstance(error, RegisterReplayError)
        assert (error.service_name, error.service_port) == ("orders", 9090)
        assert isinstance(error.__cause__, SidecarApiError)
        client.failing.clear()
        await asyncio.wait_for(controller.registered(), 30)
        assert controller.status().registered
        assert controller.status().disconnect_count == 0
        tried = len(client.calls)
        await asyncio.sleep(0.05)
        assert len(client.calls) == tried, "what is registered is not registered again"
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_no_retry_outlives_the_connection_it_is_for() -> None:
    client = Remembering()
    client.failing.add("register")
    controller = Controller(client, node())
    source = Scripted(UP, ends=False)
    running = asyncio.create_task(Runner(source, controller, retry_interval=0.01).run())
    try:
        await source.used_up.wait()
        source.more.put_nowait(down(CLOSED))

        async def disconnected() -> bool:
            return controller.status().disconnect_count == 1

        await eventually(disconnected)
        tried = len(client.calls)
        await asyncio.sleep(0.05)
        assert len(client.calls) == tried
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize("retrying", [False, True])
async def test_when_a_runner_has_ended_no_register_is_under_way(retrying: bool) -> None:
    client = Remembering()
    if retrying:
        client.failing.add("register")
    else:
        client.held.add("register")
    running = asyncio.create_task(
        Runner(Scripted(UP, ends=False), Controller(client, node()), retry_interval=0.01).run()
    )
    if retrying:

        async def tried() -> bool:
            return len(client.calls) >= 1

        await eventually(tried)
        client.held.add("register")
    await client.holds.wait()
    running.cancel()
    await asyncio.sleep(0.01)
    assert not running.done(), "the request is waited for"
    client.go_on.set()
    await asyncio.wait({running})
    assert running.cancelled()
    assert client.calls[-1] == "register done"


async def test_a_handler_that_fails_ends_nothing() -> None:
    client = Remembering()

    def failing(*_: Exception) -> None:
        raise RuntimeError("handler")

    controller = Controller(client, node())
    await Runner(Scripted(UP, down(CLOSED), UP), controller, failing, on_registered=failing).run()
    assert client.calls == ["register", "register"]


async def test_what_ends_a_source_is_raised_as_it_is() -> None:
    class Broken(Scripted):
        async def subscribe(self):  # type: ignore[no-untyped-def]
            yield UP
            raise LookupError("no agent")

    with pytest.raises(LookupError, match="no agent"):
        await Runner(Broken(), Controller(Remembering(), node())).run()


async def test_a_failed_drain_is_remembered() -> None:
    client = Remembering()
    client.failing.update(("drain", "deregister"))
    controller = Controller(client, node())
    for work in (controller.drain(5), controller.deregister()):
        with pytest.raises(SidecarApiError):
            await work
    assert controller.status().last_error_kind == "sidecar_api"
