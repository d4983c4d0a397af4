"""What cannot be forked is refused with words that say why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hrpc
from hrpc.errors import OptionError
from hrpc.option import fold
from hrpc.server.workers import forking
from tests.echo import add_echo
from tests.process import running, script
from tests.server.workers.fleet import LOCAL

NAME = hrpc.with_server_name("tested")


async def test_threads_that_run_are_named(tmp_path: Path) -> None:
    before = "import threading\nthreading.Thread(target=threading.Event().wait, name='poller', daemon=True).start()"
    async with running(script(tmp_path, LOCAL, before=before), {"HRPC_WORKERS": "2"}) as process:
        assert await process.ended() == 1
        await process.says("cannot be forked, because threads run in it that its workers would not have: poller")


@pytest.mark.parametrize(
    "made",
    [
        'import grpc\nchannel = grpc.insecure_channel("127.0.0.1:1")\n',
        'import grpc.aio\nchannel = grpc.aio.insecure_channel("127.0.0.1:1")\n',
    ],
)
async def test_a_channel_of_grpc_that_is_there_is_named(tmp_path: Path, made: str) -> None:
    async with running(script(tmp_path, LOCAL, before=made), {"HRPC_WORKERS": "2"}) as process:
        assert await process.ended() == 1
        await process.says("cannot be forked, because a channel or a server of gRPC was made in it already")


async def test_inside_of_an_event_loop_it_serves_in_this_process_alone() -> None:
    server = hrpc.new_server(NAME, hrpc.with_listen_port(0, host="127.0.0.1"), hrpc.with_workers(2))
    add_echo(server)
    async with server:
        assert hrpc.worker() is None
        assert server.port


@pytest.mark.parametrize("count", [0, -1, 1025, 1.5, True, "two", None])
def test_a_count_that_is_none_is_refused(count: object) -> None:
    with pytest.raises(OptionError, match=r"hrpc\.with_workers: takes a number from 1 to 1024"):
        hrpc.with_workers(count)  # type: ignore[arg-type]


def test_the_environment_wins_and_is_checked() -> None:
    assert fold((NAME, hrpc.with_workers(2)), {}).workers == 2
    assert fold((NAME, hrpc.with_workers(2)), {"HRPC_WORKERS": "3"}).workers == 3
    assert fold((NAME,), {"HRPC_WORKERS": "auto"}).workers == "auto"
    assert fold((NAME,), {"HRPC_WORKERS": " "}).workers == 1
    with pytest.raises(OptionError, match="HRPC_WORKERS: takes"):
        fold((NAME,), {"HRPC_WORKERS": "many"})


def test_auto_is_as_many_as_there_are_cpus_to_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(forking, "QUOTA", str(quota))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert forking.count("auto") == 6
    for text, cpus in {"max 100000": 6, "250000 100000": 3, "50000 100000": 1, "900000 100000": 6}.items():
        quota.write_text(text)
        assert forking.count("auto") == cpus
    assert forking.count(4) == 4
