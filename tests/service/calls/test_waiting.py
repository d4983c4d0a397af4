"""Calls for which there is no instance: they fail in clear words, or wait for one."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import background_context, errors, service
from hrpc.abc import Instance
from hrpc.option.limits import BreakerSettings
from hrpc.rpc.breaker import Breakers
from hrpc.service import balanced_channel
from tests.echo import SERVICE, call
from tests.service.calls.fleet import Fleet, fleet
from tests.service.calls.kinds import KINDS, Peer, all_of, begin
from tests.service.calls.servers import bare
from tests.service.peers import called

SOON = hrpc.with_graceful_stop(drain_delay=0)


class Spans:
    """Stands for a tracer: the calls that were begun, and how each ended."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[tuple[str, grpc.StatusCode, BaseException | None]] = []

    def calling(self, _: str, __: str = "") -> Any:
        return self._begin

    def _begin(self, endpoint: str) -> Any:
        self.begun.append(endpoint)
        spans = self

        class Span:
            metadata = (("span", str(len(spans.begun))),)

            def end(self, code: grpc.StatusCode, error: BaseException | None) -> None:
                spans.ended.append((endpoint, code, error))

        return Span()


def traced(found: Fleet) -> Spans:
    spans = Spans()
    found.outgoing.traced_by(spans)  # type: ignore[arg-type]
    return spans


@pytest.mark.parametrize("kind", KINDS)
async def test_without_an_instance_the_error_comes_when_the_call_is_awaited(kind: str) -> None:
    async with fleet(()) as found:
        spans = traced(found)
        made = begin(found.channel, kind, "ok")
        assert made.done()
        with pytest.raises(
            grpc.aio.AioRpcError, match=r"service 'fleet': no instance passes its checks \(as Consul said 1.2 s ago\)"
        ):
            await all_of(made)
        assert await made.code() is grpc.StatusCode.UNAVAILABLE
        assert "no instance" in (await made.details() or "")
        assert tuple(await made.initial_metadata()) == tuple(await made.trailing_metadata()) == ()
        with pytest.raises(grpc.aio.AioRpcError):
            await made.wait_for_connection()
        assert found.counts["refused"] == 1
        assert [(endpoint, code) for endpoint, code, _ in spans.ended] == [("", grpc.StatusCode.UNAVAILABLE)]


async def test_with_instances_that_are_away_it_says_how_many_and_why(free_port: int) -> None:
    async with fleet((free_port,)) as found:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(found.channel, "Name")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        details = caught.value.details() or ""
        assert details.startswith(
            "service 'fleet': 1 of 1 known instances cannot be connected to (as Consul said 1.2 s ago); the last one:"
        )
        assert f"127.0.0.1:{free_port}: Failed to connect to remote host: Connection refused" in details
        made = found.channel.unary_unary(f"/{SERVICE}/Name")(b"x")
        assert "known instances" in await made.details()
        assert await made.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_waits_for_an_instance_when_it_is_told_to(kind: str) -> None:
    peer = Peer()
    async with bare(peer.handlers()) as port, fleet(()) as found:
        made = begin(found.channel, kind, "ok", wait_for_ready=True, timeout=60)
        waiting = asyncio.ensure_future(all_of(made))
        await asyncio.sleep(0)
        assert not made.done()
        assert 30 < made.time_remaining() <= 60
        found.listed.replace((port,))
        assert await waiting == (b"xx" if kind.endswith("_stream") else b"x")
        assert not found.channel.waiting


async def test_a_call_that_waits_is_made_when_its_instance_comes_up(free_port: int) -> None:
    async with fleet((free_port,)) as found:
        waiting = asyncio.ensure_future(call(found.channel, "Name", wait_for_ready=True, timeout=60).code())
        async with asyncio.timeout(30):
            while found.counts["attempts"] < 4:  # more than a call has otherwise
                await asyncio.sleep(0.01)
        async with bare({"Name": grpc.unary_unary_rpc_method_handler(_name)}, free_port):
            assert await waiting is grpc.StatusCode.OK


async def _name(_: bytes, __: Any) -> bytes:
    return b"a"


async def test_a_call_waits_until_its_deadline(free_port: int) -> None:
    for ports in ((), (free_port,)):
        async with fleet(ports) as found:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(found.channel, "Name", wait_for_ready=True, timeout=0.2)
            assert caught.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
            assert "service 'fleet'" in (caught.value.details() or "")
            assert not found.channel.waiting


async def test_a_call_that_waits_is_cancelled() -> None:
    async with fleet(()) as found:
        made = begin(found.channel, "unary_unary", "ok", wait_for_ready=True)
        waiting = asyncio.ensure_future(all_of(made))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert made.cancelled()
        assert not found.channel.waiting


async def test_before_the_registry_has_answered_a_call_waits_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    async with called(b"a") as port, fleet(None) as found:
        waiting = asyncio.ensure_future(all_of(call(found.channel, "Name")))
        await asyncio.sleep(0)
        found.listed.replace((port,))
        assert await waiting == b"a"
    async with fleet(None) as found:
        waiting = asyncio.ensure_future(all_of(call(found.channel, "Name")))
        await asyncio.sleep(0)
        found.listed.replace(())
        with pytest.raises(grpc.aio.AioRpcError, match="no instance passes its checks"):
            await waiting
    monkeypatch.setattr(balanced_channel, "FIRST_ANSWER_LIMIT", 0.05)
    async with fleet(None) as found:
        with pytest.raises(grpc.aio.AioRpcError, match="Consul has not answered yet"):
            await call(found.channel, "Name")


async def test_each_attempt_has_a_span_of_its_own(free_port: int) -> None:
    async with called(b"a") as port, fleet((free_port, port)) as found:
        spans = traced(found)
        for _ in range(2):
            await call(found.channel, "Name")
        assert sorted(spans.begun) == sorted([f"127.0.0.1:{free_port}", *[f"127.0.0.1:{port}"] * 2])
        codes = {endpoint: code for endpoint, code, _ in spans.ended}
        assert codes == {
            f"127.0.0.1:{free_port}": grpc.StatusCode.UNAVAILABLE,
            f"127.0.0.1:{port}": grpc.StatusCode.OK,
        }


async def test_a_call_that_no_instance_takes_counts_once_for_the_circuit_breaker_and_an_open_one_ends_it(
    free_port: int,
) -> None:
    breakers = Breakers(BreakerSettings(calls=2))
    async with fleet((free_port,), hrpc.with_retry(2), breakers=breakers) as found:
        spans = traced(found)
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(found.channel, "Name")
            assert not isinstance(caught.value, errors.BreakerOpen)
        made = call(found.channel, "Name")
        with pytest.raises(errors.BreakerOpen):
            await made
        assert await made.code() is grpc.StatusCode.UNAVAILABLE
        assert spans.begun == [f"127.0.0.1:{free_port}"] * 4 + [""]
        assert isinstance(spans.ended[-1][2], errors.BreakerOpen)


async def test_an_instance_that_is_away_opens_no_circuit_breaker_while_another_one_answers(free_port: int) -> None:
    breakers = Breakers(BreakerSettings())
    async with called(b"a") as port, fleet((port, free_port), breakers=breakers) as found:
        answers = await asyncio.gather(*(all_of(call(found.channel, "Name", timeout=20)) for _ in range(100)))
        assert answers == [b"a"] * 100
        assert found.counts["retries"] >= 20  # as many as would open it


async def test_a_call_that_waits_carries_the_request_that_it_is_made_for() -> None:
    async def own_metadata(_: bytes, context: Any) -> bytes:
        told = dict(context.invocation_metadata())
        return str(told.get("hrpc_md_message")).encode()

    async with called(b"a", Own=own_metadata) as port, fleet(None) as found:
        with background_context():
            waiting = asyncio.ensure_future(all_of(call(found.channel, "Own")))
            await asyncio.sleep(0)
        found.listed.replace((port,))
        assert await waiting != b"None"


async def test_a_call_with_wrong_arguments_stops_neither_the_list_nor_the_calls_that_wait_beside_it() -> None:
    async with called(b"a") as port, fleet(None) as found:
        name = found.channel.unary_unary(f"/{SERVICE}/Name")
        wrong: Any = (("a key without a value",),)
        made = [name(b"", metadata=wrong), name(b""), name(b"", metadata=wrong), name(b"")]
        waiting = asyncio.gather(*(each.code() for each in made))
        found.listed.replace((port,))
        internal, ok = grpc.StatusCode.INTERNAL, grpc.StatusCode.OK
        assert await waiting == [internal, ok, internal, ok]
        assert "not enough values to unpack" in (await made[0].details() or "")


@pytest.mark.parametrize("kind", KINDS)
async def test_when_the_server_stops_no_call_waits_any_more(kind: str) -> None:
    services = hrpc.with_static_services({"nobody": []})
    where = hrpc.with_listen_port(0, host="127.0.0.1")
    async with hrpc.new_server(hrpc.with_server_name("caller"), where, services, SOON) as server:
        channel = service.channel("nobody")
        made = begin(channel, kind, "ok", wait_for_ready=True)
        waiting = asyncio.ensure_future(all_of(made))
        await asyncio.sleep(0)
        await server.stop()
    with pytest.raises(grpc.aio.AioRpcError, match="service 'nobody': the server that calls it has stopped"):
        await waiting
    with pytest.raises(grpc.aio.AioRpcError, match="has stopped"):
        await all_of(begin(channel, kind, "ok", wait_for_ready=True))


async def test_a_name_that_is_not_found_is_told_as_other_instances_that_are_away() -> None:
    async with fleet(()) as found:
        found.listed.instances = [Instance("lost", "fleet", "lost.invalid", 4000)]
        found.listed.callbacks[0]()
        with pytest.raises(grpc.aio.AioRpcError, match=r"1 of 1 known instances .* lost\.invalid"):
            await call(found.channel, "Name")
        assert found.counts["attempts"] == 3
