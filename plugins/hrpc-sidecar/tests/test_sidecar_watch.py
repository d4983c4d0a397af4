"""The stream of events: how it ends, and begins again."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest
from aiohttp import web
from sidecar_service import node

from hrpc_sidecar import (
    ApiClient,
    ConnectionEvent,
    FrameTooLarge,
    SidecarApiError,
    WatchError,
    WatchEventParseError,
    WatchHttpStatusError,
    WatchSilent,
    WatchSource,
    WatchStreamClosed,
    WatchUnreachable,
)
from hrpc_sidecar.testing import SidecarAgent
from hrpc_sidecar.watch import LONGEST, PATIENCE, pause


@pytest.fixture
async def agent() -> AsyncIterator[SidecarAgent]:
    async with SidecarAgent(heartbeat=0.02) as running:
        yield running


def source(agent: SidecarAgent, **settings: float) -> WatchSource:
    return WatchSource(base_url=agent.base_url, **{"reconnect_interval": 0.01, **settings})  # type: ignore[arg-type]


async def until(events: AsyncGenerator[ConnectionEvent, None], kind: str) -> ConnectionEvent:
    async for event in events:
        if event.type == kind:
            return event
    raise AssertionError("the events have ended")


async def test_events_come_as_the_agent_sends_them(agent: SidecarAgent) -> None:
    async with asyncio.timeout(30), aclosing(source(agent).subscribe()) as events:
        first = await anext(events)
        assert (first.type, first.ready, first.service) == ("connected", True, "sidecar-agent")
        assert (await anext(events)).type == "heartbeat"
        agent.send(b"event: routes\ndata: {}\n\n: comment\n\ndata: ok\n\n")
        assert (await until(events, "connected")).message == "ok"


async def test_a_stream_is_asked_for_as_one() -> None:
    seen: asyncio.Queue[web.Request] = asyncio.Queue()

    async def watch(request: web.Request) -> web.Response:
        seen.put_nowait(request)
        return web.Response(body=b"event: connected\ndata: {}")

    app = web.Application()
    app.router.add_get("/events", watch)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
        async with asyncio.timeout(30), aclosing(WatchSource(url).subscribe()) as events:
            # The last frame counts without its blank line.
            assert (await anext(events)).type == "connected"
            assert isinstance((await anext(events)).error, WatchStreamClosed)
        assert (await seen.get()).headers["Accept"] == "text/event-stream"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("how", ["close_streams", "cut_streams"])
async def test_the_end_of_a_stream_is_one_event_and_then_it_begins_again(agent: SidecarAgent, how: str) -> None:
    async with asyncio.timeout(30), aclosing(source(agent).subscribe()) as events:
        assert (await anext(events)).type == "connected"
        getattr(agent, how)()
        ended = await until(events, "disconnected")
        assert type(ended.error) is WatchStreamClosed
        assert (await anext(events)).type == "connected"
    assert agent.count("/watch") == 2


async def test_data_that_is_no_event_ends_the_stream(agent: SidecarAgent) -> None:
    async with asyncio.timeout(30), aclosing(source(agent).subscribe()) as events:
        assert (await anext(events)).type == "connected"
        agent.send(b'id: 5\nevent: heartbeat\ndata: {"event":\n\nevent: connected\n\n')
        error = (await until(events, "disconnected")).error
        assert isinstance(error, WatchEventParseError)
        assert (error.event_type, error.event_id, error.payload) == ("heartbeat", "5", '{"event":')
        assert (await anext(events)).id != "", "the rest of the stream is not read any more"


async def test_a_frame_without_an_end_ends_the_stream(agent: SidecarAgent) -> None:
    watching = WatchSource(base_url=agent.base_url, reconnect_interval=0.01, largest_frame=1000)
    async with asyncio.timeout(30), aclosing(watching.subscribe()) as events:
        assert (await anext(events)).type == "connected"
        agent.send(b"data: " + b"x" * 3000)
        assert isinstance((await until(events, "disconnected")).error, FrameTooLarge)


async def test_another_status_is_told_each_time(agent: SidecarAgent) -> None:
    agent.fail("/watch", status=503, times=2)
    async with asyncio.timeout(30), aclosing(source(agent).subscribe()) as events:
        for _ in range(2):
            ended = await anext(events)
            assert ended.type == "disconnected"
            assert isinstance(ended.error, WatchHttpStatusError)
            assert ended.error.status == 503
        assert (await anext(events)).type == "connected"


async def test_a_wrong_url_is_told(agent: SidecarAgent, free_port: int) -> None:
    async with asyncio.timeout(30):
        async with aclosing(WatchSource(f"{agent.base_url}/nothing").subscribe()) as events:
            error = (await anext(events)).error
            assert isinstance(error, WatchHttpStatusError)
            assert error.status == 404
        async with aclosing(WatchSource(f"http://127.0.0.1:{free_port}/watch").subscribe()) as events:
            assert isinstance((await anext(events)).error, WatchUnreachable)


async def test_an_agent_that_does_not_answer_is_left(agent: SidecarAgent) -> None:
    agent.hang("/watch")
    async with asyncio.timeout(30), aclosing(source(agent, timeout=0.05).subscribe()) as events:
        error = (await anext(events)).error
        assert isinstance(error, WatchUnreachable)
        assert "no answer within 0.05 s" in str(error)
        assert (await until(events, "connected")).ready


async def test_a_stream_that_sends_nothing_is_left(agent: SidecarAgent) -> None:
    agent.silent = True
    async with asyncio.timeout(30), aclosing(source(agent, idle_limit=0.05).subscribe()) as events:
        error = (await anext(events)).error
        assert isinstance(error, WatchSilent)
        assert error.limit == 0.05
        agent.silent = False
        assert (await until(events, "connected")).ready


async def test_comments_keep_a_stream_alive(agent: SidecarAgent) -> None:
    agent.silent = True
    async with asyncio.timeout(30), aclosing(source(agent, idle_limit=2.0).subscribe()) as events:
        waiting = asyncio.ensure_future(anext(events))
        until_then = time.monotonic() + 2.5
        while time.monotonic() < until_then:
            agent.send(b": beat\n")
            await asyncio.sleep(0.02)
        assert not waiting.done()
        agent.send(b"\ndata: ok\n\n")
        assert (await waiting).type == "connected"
    assert agent.count("/watch") == 1


async def test_the_interval_is_kept_between_two_attempts(free_port: int) -> None:
    watching = WatchSource(base_url=f"http://127.0.0.1:{free_port}", reconnect_interval=0.2)
    times: list[float] = []
    async with asyncio.timeout(30), aclosing(watching.subscribe()) as events:
        async for _ in events:
            times.append(time.monotonic())
            if len(times) == 4:
                break
    for before, after in itertools.pairwise(times):
        assert after - before >= 0.2 * 0.6


def test_pauses_stay_within_the_interval_and_differ() -> None:
    pauses = {pause(1.0, 0) for _ in range(200)} | {pause(1.0, 1) for _ in range(200)}
    assert len(pauses) > 300
    assert min(pauses) >= 0.6
    assert max(pauses) <= 0.85


def test_an_agent_that_answers_badly_again_and_again_is_asked_less_often_up_to_a_limit() -> None:
    assert pause(1.0, PATIENCE) <= 0.85, "one that starts is not punished for it"
    assert 2 * 0.6 <= pause(1.0, PATIENCE + 1) <= 2 * 0.85
    assert 4 * 0.6 <= pause(1.0, PATIENCE + 2) <= 4 * 0.85
    assert LONGEST * 0.6 <= pause(1.0, 1000) <= LONGEST * 0.85


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n8\r\ndata:ok\n\r\n1\r\n\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([b""], id="nothing"),
        pytest.param([b"garbage\r\n\r\n"], id="no HTTP"),
        pytest.param([b"HTTP/1.1 abc OK\r\n\r\n"], id="no status"),
        pytest.param([HEAD], id="half of a head"),
        pytest.param([HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n"], id="a head without an end"),
        pytest.param([HEAD + b"Content-Length: -5\r\n\r\nabc"], id="a wrong length"),
        pytest.param([HEAD + b"Content-Length: 100\r\n\r\nabc"], id="too short"),
        pytest.param([HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde"], id="no gzip"),
        pytest.param([b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n"], id="to nowhere"),
        pytest.param([CHUNKED, b"zz\r\nabc\r\n"], id="no chunk"),
        pytest.param([CHUNKED, b"5\r\nabcdefghi\r\n"], id="a longer chunk"),
        pytest.param([CHUNKED, b"FFFFFFFFFFFFFFFFFFFF\r\nabc"], id="a huge chunk"),
        pytest.param([CHUNKED, b"\0" * 100], id="zeros"),
    ],
)
async def test_whatever_answers_the_stream_ends_with_an_error_of_the_watch(answer: list[bytes]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in answer:
                writer.write(part)
                await asyncio.sleep(0.02)
        finally:
            writer.close()

    async with asyncio.timeout(30), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/watch"
        # What aiohttp's parser does not take in the middle of a stream, it tells nobody: then the idle limit ends it.
        async with aclosing(WatchSource(url, idle_limit=0.3).subscribe()) as events:
            ended = await until(events, "disconnected")
            assert isinstance(ended.error, WatchError)
            assert "\n" not in str(ended.error)
        with pytest.raises(SidecarApiError):
            await ApiClient(url.removesuffix("/watch"), timeout=0.3).register(node())


async def test_nothing_is_left_of_a_source_that_is_closed(agent: SidecarAgent) -> None:
    async with asyncio.timeout(30):
        events = source(agent).subscribe()
        assert (await anext(events)).type == "connected"
        await events.aclose()
        while agent.streams:
            await asyncio.sleep(0.005)
    assert agent.count("/watch") == 1
