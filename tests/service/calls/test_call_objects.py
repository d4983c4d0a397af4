"""What a call of service.channel has is what a call of grpc.aio has, for all four kinds."""

from __future__ import annotations

import asyncio
import gc
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc.service.calls import retries
from hrpc.service.calls.call import Call
from tests.deadlines import missed
from tests.echo import SERVICE
from tests.eventually import eventually
from tests.service.calls.fleet import Fleet, fleet
from tests.service.calls.kinds import KINDS, Peer, all_of, begin
from tests.service.calls.servers import bare

CLASSES = {
    "unary_unary": grpc.aio.UnaryUnaryCall,
    "unary_stream": grpc.aio.UnaryStreamCall,
    "stream_unary": grpc.aio.StreamUnaryCall,
    "stream_stream": grpc.aio.StreamStreamCall,
}


@pytest.fixture
async def peer() -> Peer:
    return Peer()


@pytest.fixture(params=["ours", "grpc.aio"])
async def channel(request: pytest.FixtureRequest, peer: Peer) -> AsyncIterator[grpc.aio.Channel]:
    """Both have to pass the same tests."""
    async with bare(peer.handlers()) as port:
        if request.param == "ours":
            async with fleet((port,)) as found:
                yield found.channel
        else:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as plain:
                yield plain


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_is_answered(channel: grpc.aio.Channel, kind: str, peer: Peer) -> None:
    told: list[Any] = []
    made = begin(channel, kind, "ok", timeout=60, metadata=(("mine", "1"),))
    assert isinstance(made, CLASSES[kind])
    made.add_done_callback(told.append)
    assert not made.done()
    assert not made.cancelled()
    assert 30 < made.time_remaining() <= 60
    await made.wait_for_connection()
    assert ("first", "1") in tuple(await made.initial_metadata())
    assert await all_of(made) == (b"xx" if kind.endswith("_stream") else b"x")
    assert await made.code() is grpc.StatusCode.OK
    assert await made.details() == ""
    assert ("last", "2") in tuple(await made.trailing_metadata())
    assert isinstance(await made.debug_error_string(), str)
    assert made.done()
    assert not made.cancelled()
    assert not made.cancel()
    assert told == [made]
    made.add_done_callback(told.append)
    assert told == [made, made]
    assert peer.metadata[-1]["mine"] == "1"


@pytest.mark.parametrize("kind", KINDS)
async def test_metadata_goes_along_with_a_call_that_is_compressed(
    channel: grpc.aio.Channel, kind: str, peer: Peer
) -> None:
    for metadata in (None, (("mine", "1"), ("mine-bin", b"2")), iter([("mine", "1"), ("mine-bin", b"2")])):
        assert await all_of(begin(channel, kind, "ok", metadata=metadata, compression=grpc.Compression.Gzip))
    assert [seen.get("mine") for seen in peer.metadata] == [None, "1", "1"]
    assert [seen.get("mine-bin") for seen in peer.metadata] == [None, b"2", b"2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
async def test_what_a_call_serves_is_told_with_the_calls_it_makes(kind: str, compression: Any) -> None:
    peer = Peer()
    async with bare(peer.handlers()) as port, fleet((port,)) as found:
        with hrpc.background_context() as current:
            for metadata in (None, (("mine", "1"),)):
                assert await all_of(begin(found.channel, kind, "ok", metadata=metadata, compression=compression))
    assert [current.trace_id in str(seen["hrpc_md_message"]) for seen in peer.metadata] == [True, True]
    assert peer.metadata[1]["mine"] == "1"


class Adding(grpc.aio.UnaryUnaryClientInterceptor):
    """As packages do that measure all channels of a process."""

    def __init__(self, *, copies: bool) -> None:
        self._copies = copies

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = details.metadata or grpc.aio.Metadata()
        if self._copies:
            metadata = grpc.aio.Metadata(*OrderedDict(metadata).items())
        assert metadata.get("added") is None
        metadata.add("added", "1")
        return await continuation(details._replace(metadata=metadata), request)


@pytest.mark.parametrize("copies", [False, True])
async def test_interceptors_that_others_put_into_every_channel_can_look_and_add(
    monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    make, peer = grpc.aio.insecure_channel, Peer()
    monkeypatch.setattr(
        grpc.aio,
        "insecure_channel",
        lambda target, options=None: make(target, options, interceptors=[Adding(copies=copies)]),
    )
    async with bare(peer.handlers()) as port, fleet((port,)) as found:
        for _ in range(2):
            assert await all_of(begin(found.channel, "unary_unary", "ok"))
        with hrpc.background_context():
            assert await all_of(begin(found.channel, "unary_unary", "ok"))
    assert [(seen["added"], "hrpc_md_message" in seen) for seen in peer.metadata] == [("1", False)] * 2 + [("1", True)]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_fails(channel: grpc.aio.Channel, kind: str) -> None:
    told: list[Any] = []
    made = begin(channel, kind, "fail")
    made.add_done_callback(told.append)
    assert made.time_remaining() is None
    with pytest.raises(grpc.aio.AioRpcError, match="too far") as caught:
        await all_of(made)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert ("last", "3") in tuple(caught.value.trailing_metadata() or ())
    assert await made.code() is grpc.StatusCode.OUT_OF_RANGE
    assert await made.details() == "too far"
    assert ("last", "3") in tuple(await made.trailing_metadata())
    assert told == [made]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_callback_that_fails_is_reported_and_harms_nobody(kind: str) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))

    def fails(_: Any) -> None:
        raise ValueError("a callback's own fault")

    async with bare(Peer().handlers()) as port, fleet((port,)) as found:
        ended: asyncio.Queue[Any] = asyncio.Queue()
        made = begin(found.channel, kind, "ok")
        made.add_done_callback(fails)
        made.add_done_callback(ended.put_nowait)
        assert await all_of(made)
        assert await ended.get() is made
    assert [str(each["exception"]) for each in reported] == ["a callback's own fault"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_of_which_only_the_code_is_asked(channel: grpc.aio.Channel, kind: str) -> None:
    if kind.endswith("_stream"):
        made = begin(channel, kind, "fail")
        assert await made.code() is grpc.StatusCode.OUT_OF_RANGE
    else:
        assert await begin(channel, kind, "ok").code() is grpc.StatusCode.OK


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_is_cancelled(channel: grpc.aio.Channel, kind: str, peer: Peer) -> None:
    made = begin(channel, kind, "wait")
    waiting = asyncio.ensure_future(all_of(made))
    await peer.entered.acquire()
    assert made.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert made.cancelled()
    assert made.done()
    assert not made.cancel()
    assert await made.code() is grpc.StatusCode.CANCELLED
    assert await made.details() == "Locally cancelled by application!"
    await peer.cancelled.acquire()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_caller_that_is_cancelled_cancels_its_call(channel: grpc.aio.Channel, kind: str, peer: Peer) -> None:
    made = begin(channel, kind, "wait")
    waiting = asyncio.ensure_future(all_of(made))
    await peer.entered.acquire()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert made.cancelled()
    await peer.cancelled.acquire()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_deadline_of_a_call(channel: grpc.aio.Channel, kind: str, peer: Peer) -> None:
    async def has_begun() -> bool:
        return not peer.entered.locked()

    await missed(lambda seconds: all_of(begin(channel, kind, "wait", timeout=seconds)), has_begun)
    await peer.cancelled.acquire()


async def test_requests_that_raise_cancel_their_call(channel: grpc.aio.Channel, peer: Peer) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        await peer.entered.acquire()
        raise KeyError("broken")

    made = channel.stream_unary(f"/{SERVICE}/stream_unary-wait")(broken())
    with pytest.raises(asyncio.CancelledError):
        await made
    await peer.cancelled.acquire()


# What only ours can do: the object stands for several attempts.
@pytest.mark.parametrize("kind", KINDS)
async def test_one_object_stands_for_all_attempts(free_port: int, kind: str, peer: Peer) -> None:
    async with bare(peer.handlers()) as port, fleet((free_port, port)) as found:
        for number in range(2):
            told: list[Any] = []
            made = begin(found.channel, kind, "ok")
            made.add_done_callback(told.append)
            assert ("first", "1") in tuple(await made.initial_metadata())
            await made.wait_for_connection()
            assert await all_of(made) == (b"xx" if kind.endswith("_stream") else b"x")
            assert await made.code() is grpc.StatusCode.OK
            assert ("last", "2") in tuple(await made.trailing_metadata())
            assert told == [made]
            assert len(peer.metadata) == number + 1
        assert found.counts["retries"] == 1


async def test_a_call_that_nobody_waits_for_is_made_again_as_well(free_port: int, peer: Peer) -> None:
    ended = asyncio.Queue[Any]()
    async with bare(peer.handlers()) as port, fleet((free_port, port)) as found:
        for _ in range(2):
            begin(found.channel, "unary_unary", "ok").add_done_callback(ended.put_nowait)
        for _ in range(2):
            made = await ended.get()
            assert await made.code() is grpc.StatusCode.OK
            assert await made == b"x"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_is_cancelled_between_two_attempts(free_port: int, kind: str) -> None:
    async with fleet((free_port,), hrpc.with_retry(5)) as found:
        made = begin(found.channel, kind, "ok", wait_for_ready=True)
        waiting = asyncio.ensure_future(all_of(made))
        await eventually(lambda: is_true(found.counts["attempts"] >= 2))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert made.cancelled()
        assert made.done()
        assert await made.code() is grpc.StatusCode.CANCELLED
        attempts = found.counts["attempts"]
        await asyncio.sleep(0.1)  # longer than the pause before the next one
        assert found.counts["attempts"] <= attempts + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancel_is_kept_that_comes_in_the_moment_in_which_an_attempt_fails(
    free_port: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """grpc.aio awaits a task of its own, which takes the cancel for itself and forgets it."""
    ended = Call.ended

    def cancelling(made: Call, *told: Any) -> bool:
        goes_on = ended(made, *told)
        waiting.cancel()
        return goes_on

    monkeypatch.setattr(Call, "ended", cancelling)
    # Longer than a busy machine needs to tell all who wait.
    monkeypatch.setattr(retries, "FIRST_PAUSE", 60.0)
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 60.0)
    async with fleet((free_port,), hrpc.with_retry(5)) as found:
        waiting = asyncio.ensure_future(all_of(begin(found.channel, kind, "ok", wait_for_ready=True)))
        async with asyncio.timeout(20):
            await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert found.counts["attempts"] == 1


async def is_true(value: bool) -> bool:
    return value


async def test_what_a_call_counts_at_its_instance_ends_with_it(peer: Peer, free_port: int) -> None:
    async with bare(peer.handlers()) as port, fleet((port, free_port)) as found:
        for kind in KINDS:
            for what in ("ok", "fail"):
                await asyncio.gather(all_of(begin(found.channel, kind, what)), return_exceptions=True)
            waiting = asyncio.ensure_future(all_of(begin(found.channel, kind, "wait")))
            await peer.entered.acquire()
            waiting.cancel()
            await asyncio.wait({waiting})
        assert in_flight(found) == 0


def in_flight(found: Fleet) -> int:
    gc.collect()
    return sum(endpoint.in_flight for endpoint in found.channel.balancer.endpoints)
