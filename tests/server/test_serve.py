"""serve() in a process of their own: signals, exit codes, and what is printed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import listener
from hrpc.testing import DevConsul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import SERVICE, call
from tests.eventually import eventually
from tests.process import running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
LOAD = 16


def port(line: str) -> int:
    """The port in the line that says where a service serves."""
    return int(line.partition("serves on port ")[2].partition(",")[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
async def test_a_signal_ends_it_cleanly_with_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    hook = 'life.when_exit(lambda: print("closed", flush=True))'
    async with running(script(tmp_path, LOCAL, after=hook)) as process:
        bound = port(await process.says("serves on port"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            assert await call(channel, "Echo") == b"x"
        process.send(number)
        assert await process.ended() == 0
        await process.says(f"tested stops: {number.name}")
        await process.says("closed")
        await process.says("tested has stopped")
        listener.unused("test", "127.0.0.1", bound, "")
    assert "Traceback" not in process.output


async def test_every_line_of_the_log_is_json_with_the_fields_of_the_go_framework(tmp_path: Path) -> None:
    async with running(script(tmp_path, LOCAL)) as process:
        await process.says("serves on port")
        process.send(signal.SIGTERM)
        await process.ended()
    fields = {
        *("category", "trace_id", "pst_time", "bj_time", "file_name", "package", "environment", "server_name"),
        *("level", "msg"),
    }
    lines = [json.loads(line) for line in process.output.splitlines()]
    assert lines
    assert all(fields <= set(line) for line in lines)
    assert {(line["server_name"], line["environment"]) for line in lines} == {("tested", "development")}


async def test_a_second_signal_makes_the_stop_wait_for_nobody(tmp_path: Path) -> None:
    before = "async def never(request, context):\n    print('entered', flush=True)\n    await asyncio.Event().wait()"
    source = (
        script(tmp_path, LOCAL, before=before).read_text().replace("add_echo(server)", "add_echo(server, Never=never)")
    )
    (tmp_path / "service.py").write_text(source)
    async with running(tmp_path / "service.py") as process:
        bound = port(await process.says("serves on port"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            hanging = asyncio.ensure_future(call(channel, "Never"))
            await process.says("entered")
            process.send(signal.SIGTERM)
            await process.says("tested stops: SIGTERM")
            process.send(signal.SIGTERM)
            assert await process.ended() == 0
            await process.says("SIGTERM again, the stop waits no longer")
            await process.says("drain: 1 calls had not ended and were cancelled")
            with pytest.raises(grpc.aio.AioRpcError):
                await hanging


async def test_a_signal_during_the_start_ends_it_with_everything_released(
    tmp_path: Path, own_consul: ConsulServer
) -> None:
    # The agent's process is stopped, so that the connection is accepted and never answered.
    consul = f'hrpc.with_consul(Consul(address="{own_consul.address}", timeout=60))'
    before = "print('begins', flush=True)"
    own_consul.kill()
    async with running(script(tmp_path, LOCAL, consul, before=before)) as process:
        await process.says("begins")
        # Only its own signal handler logs this; before that, the default action would end it.
        await asyncio.sleep(0)

        async def handled() -> bool:
            status = Path(f"/proc/{process.pid}/status").read_text()
            caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
            return bool(caught & (1 << (signal.SIGTERM - 1)))

        await eventually(handled)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    await process.says("tested has stopped")


async def test_sighup_runs_the_restart_hooks_and_the_service_goes_on(tmp_path: Path) -> None:
    after = (
        'life.when_restart(lambda: print("restarted", flush=True))\n'
        "async def fails():\n    raise ZeroDivisionError\n"
        "life.when_restart(fails)"
    )
    option = 'hrpc.with_restart_listeners(lambda: print("listener", flush=True))'
    async with running(script(tmp_path, LOCAL, option, after=after)) as process:
        bound = port(await process.says("serves on port"))
        process.send(signal.SIGHUP)
        await process.says("restarted")
        await process.says("listener")
        await process.says("ZeroDivisionError")
        await process.says("restart hooks have run")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            assert await call(channel, "Echo") == b"x"
        process.send(signal.SIGTERM)
        assert await process.ended() == 0


async def test_an_exit_hook_that_raises_gives_exit_code_1_and_one_line(tmp_path: Path) -> None:
    after = "def close():\n    raise OSError('disk gone')\nlife.when_exit(close)"
    async with running(script(tmp_path, LOCAL, after=after)) as process:
        await process.says("serves on port")
        process.send(signal.SIGTERM)
        assert await process.ended() == 1
        await process.says("raised by exit hook close")
    assert "Traceback" not in process.output


async def test_a_hook_that_blocks_for_ever_does_not_keep_the_process(tmp_path: Path) -> None:
    after = "import threading\nlife.when_exit(lambda: threading.Event().wait())"
    limits = "hrpc.with_graceful_stop(step_limit=0.2)"
    async with running(script(tmp_path, LOCAL, limits, after=after)) as process:
        await process.says("serves on port")
        process.send(signal.SIGTERM)
        assert await process.ended() == 1
        await process.says("not done within 0.2 s")


async def test_a_sync_handler_that_never_returns_does_not_keep_the_process(tmp_path: Path) -> None:
    before = (
        "import threading\ndef never(request, context):\n    print('entered', flush=True)\n    threading.Event().wait()"
    )
    path = script(tmp_path, LOCAL, "hrpc.with_graceful_stop(grace=0.2)", before=before)
    path.write_text(path.read_text().replace("add_echo(server)", "add_echo(server, Never=never)"))
    async with running(path) as process:
        bound = port(await process.says("serves on port"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            hanging = asyncio.ensure_future(call(channel, "Never"))
            await process.says("entered")
            process.send(signal.SIGTERM)
            assert await process.ended() == 0
            await process.says("drain: 1 calls had not ended and were cancelled")
            with pytest.raises(grpc.aio.AioRpcError):
                await hanging


async def test_under_load_no_accepted_call_fails_and_the_instance_leaves_consul_before_its_port_closes(
    tmp_path: Path, consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (
        "from pathlib import Path\n"
        "accepted = open(os.environ['ACCEPTED'], 'wb', buffering=0)\n"
        "async def take(request, context):\n"
        "    accepted.write(request + b'\\n')\n"
        "    await asyncio.sleep(0.02)\n"
        "    return request\n"
    )
    options = (
        LOCAL,
        "hrpc.with_health_check(0)",
        f'hrpc.with_consul(Consul(address="{consul.address}"))',
        "hrpc.with_graceful_stop(drain_delay=1.5)",
    )
    path = script(tmp_path, *options, before=before)
    path.write_text(path.read_text().replace("add_echo(server)", "add_echo(server, Take=take)"))
    answered: set[bytes] = set()
    refused: set[bytes] = set()
    environ = {"ACCEPTED": str(tmp_path / "accepted"), "HRPC_ADVERTISE": "127.0.0.1"}
    async with running(path, environ) as process:
        bound = port(await process.says("serves on port"))

        async def load(number: int) -> None:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}", [("grpc.enable_retries", 0)]) as channel:
                take = channel.unary_unary(f"/{SERVICE}/Take")
                for count in range(1_000_000):
                    request = f"{number}-{count}".encode()
                    try:
                        answered.add(await take(request, timeout=30))
                    except grpc.aio.AioRpcError as error:
                        # What arrives while gRPC's core shuts down is cancelled by it before any handler sees it.
                        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
                        refused.add(request)
                        return

        loads = [asyncio.create_task(load(number)) for number in range(LOAD)]

        async def busy() -> bool:
            return len(answered) > 10 * LOAD

        await eventually(busy)
        assert len(await agent.instances(consul.address, "tested", bound)) == 1
        process.send(signal.SIGTERM)

        async def gone() -> bool:
            return not await agent.instances(consul.address, "tested", bound)

        await eventually(gone)
        done_before = len(answered)
        with pytest.raises(Exception, match="in use"):
            listener.unused("test", "127.0.0.1", bound, "")
        await asyncio.gather(*loads)
        assert len(answered) > done_before, "it was still answering after it had left Consul"
        assert await process.ended() == 0
    accepted = set((tmp_path / "accepted").read_bytes().split())
    assert accepted == answered
    assert len(refused) == LOAD


async def test_an_instance_that_was_killed_is_removed_by_the_check(tmp_path: Path) -> None:
    """On the embedded agent, with limits below Consul's own, which would take more than a minute."""
    short = (
        'hrpc.Option("short", {"registration": RegistrationSettings(check_interval=0.2, deregister_after=0.4)})',
        "hrpc.with_health_check(0)",
    )
    before = "from hrpc.option import RegistrationSettings"
    async with DevConsul(interval_minimum=0.1, deregister_minimum=0.1) as consul:
        option = f'hrpc.with_consul(Consul(address="{consul.address}"))'
        async with running(script(tmp_path, LOCAL, option, *short, before=before)) as process:
            await process.says("serves on port")
            assert len(await agent.instances(consul.address, "tested")) == 1
            process.send(signal.SIGKILL)
            await process.ended()

            async def gone() -> bool:
                return not await agent.instances(consul.address, "tested")

            await eventually(gone)


async def test_the_second_process_on_a_port_exits_with_an_error_that_names_it(tmp_path: Path) -> None:
    async with running(script(tmp_path, LOCAL)) as first:
        bound = port(await first.says("serves on port"))
        second_folder = tmp_path / "second"
        second_folder.mkdir()
        async with running(script(second_folder, f'hrpc.with_listen_port({bound}, host="127.0.0.1")')) as second:
            assert await second.ended() == 1
            line = await second.says("tested did not start: [step ")
            assert f"] bind: gRPC: 127.0.0.1:{bound} is in use by another process" in line
        assert "Traceback" not in second.output
        assert os.path.exists(f"/proc/{first.pid}")


async def test_a_background_task_that_exits_is_logged_and_the_service_goes_on(tmp_path: Path) -> None:
    before = (
        "async def exits():\n    raise SystemExit(3)\n"
        "async def start(request, context):\n    hrpc.go(exits())\n    return b''"
    )
    path = script(tmp_path, LOCAL, before=before)
    path.write_text(path.read_text().replace("add_echo(server)", "add_echo(server, Start=start)"))
    async with running(path) as process:
        bound = port(await process.says("serves on port"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            await call(channel, "Start")
            await process.says("hrpc.go: exits failed")
            assert await call(channel, "Echo") == b"x"
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
        await process.says("tested has stopped")


def test_signal_handlers_are_given_back_and_nohup_is_respected() -> None:
    async def job() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]

    server = hrpc.new_server(hrpc.with_server_name("polite"))
    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        during = server.run(job)
        assert during[0] is not old[signal.SIGTERM]
        assert during[1] is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == old[signal.SIGTERM]
        assert signal.getsignal(signal.SIGINT) == old[signal.SIGINT]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, old[signal.SIGHUP])


async def test_the_log_tells_every_port_that_was_bound(tmp_path: Path) -> None:
    options = (LOCAL, "hrpc.with_health_check(0)", "hrpc.with_metrics(0)")
    async with running(script(tmp_path, *options)) as process, aiohttp.ClientSession() as session:
        line = await process.says("serves on port")
        assert port(line) > 0
        for what, path in (("health on", "/"), ("metrics on", "/metrics")):
            number = int(line.partition(f"{what} ")[2].partition(",")[0])
            async with session.get(f"http://127.0.0.1:{number}{path}") as response:
                assert response.status == 200


async def test_a_server_without_methods_says_so(tmp_path: Path) -> None:
    async with running(script(tmp_path, LOCAL, after="server = hrpc.new_server(*server._options)")) as process:
        assert "add_…Servicer_to_server" in await process.says("tested has no methods")
        await process.says("serves on port")
    async with running(script(tmp_path, LOCAL)) as process:
        await process.says("serves on port")
        assert "has no methods" not in process.output
