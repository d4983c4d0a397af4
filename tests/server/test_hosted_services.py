"""Services that live beside gRPC: their stages, what they have, and the end of all of it."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc.abc import GrpcService
from hrpc.errors import NotRunning, OptionError
from tests.echo import SERVICE, Gate, call, echo
from tests.process import running, script
from tests.server.hosting import SERVICE_SOURCE, Scripted, hosting
from tests.server.recorded import LOCAL, Recorded, a_server

PING = "/pkping.Ping/Ping"


async def test_all_are_set_up_before_any_runs_and_released_after_every_run_has_returned() -> None:
    happened: list[str] = []
    slow = asyncio.Event()
    one = Scripted("one", happened)
    two = Scripted("two", happened, {"setup": slow.wait, "cancelled": lambda: asyncio.sleep(0.05)})
    server = a_server(hrpc.with_databases(Recorded(happened)), hosting(one, two))
    starting = asyncio.create_task(server.__aenter__())
    while len(happened) < 3:
        await asyncio.sleep(0)
    assert happened == ["open", "one setup", "two setup"]
    slow.set()
    await starting
    async with asyncio.timeout(30):
        await one.runs.wait()
        await two.runs.wait()
    await server.stop()
    assert happened[3:5] == ["one run", "two run"]
    assert happened[5:7] == ["one cancelled", "two cancelled"]
    assert sorted(happened[7:9]) == ["one release", "two release"]
    assert happened[9:] == ["close"]


async def test_nothing_is_released_while_a_call_still_runs() -> None:
    gate = Gate()
    service = Scripted("one")
    server = a_server(hosting(service), gate=gate)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        await service.runs.wait()
        held = asyncio.ensure_future(call(channel, "Hold"))
        await gate.entered.wait()
        server.start_shutdown()
        while service.happened[-1] != "one cancelled":
            await asyncio.sleep(0)
        assert not held.done()
        gate.opened.set()
        assert await held == b"x"
        await server.wait_for_shutdown()
    assert service.happened == ["one setup", "one run", "one cancelled", "one release"]


@pytest.mark.parametrize("stage", ["setup", "run", "cancelled", "release"])
async def test_a_service_that_stops_the_server_waits_for_nobody_who_waits_for_it(stage: str) -> None:
    async def stops() -> None:
        await server.stop()

    server = a_server(hosting(Scripted("one", does={stage: stops})))
    async with asyncio.timeout(30):
        if stage == "setup":
            with pytest.raises(NotRunning, match="was stopped while it started"):
                await server.__aenter__()
        else:
            async with server:
                if stage != "run":
                    server.start_shutdown()
                await server.wait_for_shutdown()
                assert server._running is not None
                assert not server._running.parts.hurry.is_set()


async def test_a_run_that_has_asked_for_the_stop_may_return() -> None:
    def asks() -> None:
        server.start_shutdown()

    async with (server := a_server(hosting(Scripted("one", does={"run": asks})))):
        await server.wait_for_shutdown()


async def test_shutdown_may_be_asked_for_at_any_time_from_any_thread_and_is_awaited_anywhere() -> None:
    server = a_server(hosting(Scripted("one")))
    server.start_shutdown()
    await server.wait_for_shutdown()
    async with server:
        asking = [threading.Thread(target=server.start_shutdown) for _ in range(3)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        elsewhere = asyncio.to_thread(asyncio.run, server.wait_for_shutdown())
        async with asyncio.timeout(30):
            await asyncio.gather(elsewhere, server.wait_for_shutdown())
        assert server._running is not None
        assert not server._running.parts.hurry.is_set()
    server.start_shutdown()
    await server.wait_for_shutdown()


async def test_a_wait_for_the_shutdown_that_is_cancelled_changes_nothing() -> None:
    server = a_server()
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        waiting = asyncio.create_task(server.wait_for_shutdown())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await call(channel, "Echo") == b"x"


async def test_a_server_of_services_alone_needs_no_methods_and_answers_pings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = hrpc.new_server(hrpc.with_server_name("alone"), LOCAL, hosting(Scripted("one")))
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await channel.unary_unary(PING)(b"") == b""
    assert "has no methods" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ((), False),
        ((hrpc.with_ping(),), True),
        ((hrpc.with_services(), hrpc.with_ping(False)), False),
    ],
)
async def test_pings_are_answered_where_they_are_asked_for(options: tuple[hrpc.Option, ...], answers: bool) -> None:
    server = a_server(*options)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        pinging = channel.unary_unary(PING)(b"")
        assert await pinging.code() == (grpc.StatusCode.OK if answers else grpc.StatusCode.UNIMPLEMENTED)


async def test_a_grpc_service_registers_its_methods_once_it_is_set_up_for_one_life() -> None:
    class Echo:
        id = "echo"

        async def setup(self) -> None:
            self.suffix = b"!"

        def register_on_server(self, server: Any) -> None:
            assert self.suffix
            handler = grpc.unary_unary_rpc_method_handler(self.say)
            server.add_registered_method_handlers(SERVICE, {"Say": handler})

        async def say(self, request: bytes, _: Any) -> bytes:
            return request + self.suffix

    service: GrpcService = Echo()
    server = hrpc.new_server(hrpc.with_server_name("grpc"), LOCAL, hosting(service))
    for _ in range(2):
        async with server, grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Say") == b"x!"
    assert server._recorder.methods == {}


async def test_services_run_again_with_the_server() -> None:
    service = Scripted("one")
    server = a_server(hosting(service))
    for _ in range(2):
        service.runs.clear()
        async with server:
            await service.runs.wait()
    assert service.happened == ["one setup", "one run", "one cancelled", "one release"] * 2


async def test_services_have_the_pools() -> None:
    database = Recorded([])
    seen: list[object] = []
    use = {stage: lambda: seen.append(database.slot.get()) for stage in ("setup", "cancelled", "release")}
    service = Scripted("one", does=use)
    async with a_server(hrpc.with_databases(database), hosting(service)):
        await service.runs.wait()
    assert seen == ["the client"] * 3


class Nothing:
    id = "nothing"

    async def setup(self) -> None: ...


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ((Nothing(),), r"'nothing' has no run\(\), nor register_on_server"),
        ((Nothing,), "Nothing is a class: pass an object"),
        ((object(),), "needs an id"),
        (("text",), "needs an id"),
    ],
)
def test_what_is_no_service_is_refused(services: Any, said: str) -> None:
    with pytest.raises(OptionError, match=rf"hrpc.with_services: .*{said}"):
        hrpc.with_services(*services)


async def test_two_services_with_one_id_are_refused() -> None:
    with pytest.raises(OptionError, match="two services have the id 'one': give one of them another"):
        hosting(Scripted("one"), Scripted("one"))


async def test_a_wrong_limit_and_a_wrong_choice_of_workers_are_refused() -> None:
    with pytest.raises(OptionError, match="max_shutdown"):
        hosting(max_shutdown="soon")  # type: ignore[arg-type]
    service = Scripted("one")
    service.workers = "two"  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="workers='two'; it takes"):
        hosting(service)
    with pytest.raises(OptionError, match="with_ping"):
        hrpc.with_ping("yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_of_it_well(tmp_path: Path, number: signal.Signals) -> None:
    options = ('hrpc.with_listen_port(0, "127.0.0.1")', "hrpc.with_services(Worker())")
    async with running(script(tmp_path, *options, before=SERVICE_SOURCE % "")) as process:
        await process.says("serves on port")
        process.send(number)
        assert await process.ended() == 0
        assert "returned" in process.output


async def test_echo_is_there_beside_a_service() -> None:
    server = a_server(hosting(Scripted("one")), Extra=echo)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Extra") == b"x"
