"""The control socket of a running server."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import hrpc
from hrpc.cli.reaching import ReachError, reach
from hrpc.errors import HrpcError
from hrpc.server.control import Control
from hrpc.server.parts import Parts
from tests.server.recorded import a_server


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HRPC_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


async def asked(command: str, timeout: float = 30.0, **arguments: Any) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        with reach() as reached:
            return reached.ask(command, timeout=timeout, **arguments)

    return await asyncio.to_thread(ask)


async def sent(folder: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(next(folder.iterdir())))
    writer.write(line)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_command_is_answered_with_what_its_handler_gives() -> None:
    async def echo(request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"ok": True, "said": request["word"]}

    control = Control("orders")
    async with control.opened():
        control.on("echo", echo)
        assert await asked("echo", word="Grüße") == {"ok": True, "said": "Grüße"}


async def test_several_answers_come_one_by_one_each_as_soon_as_it_is_known() -> None:
    told = asyncio.Event()

    async def progress(_: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        yield {"step": 1}
        await told.wait()
        yield {"step": 2}

    control = Control("orders")
    control.on("progress", progress)
    async with control.opened():
        with await asyncio.to_thread(reach, "orders", os.getpid()) as reached:
            answers = reached.answers("progress", timeout=30)
            following: Callable[[], Any] = partial(next, answers, None)
            assert await asyncio.to_thread(following) == {"step": 1}
            told.set()
            assert await asyncio.to_thread(following) == {"step": 2}
            assert await asyncio.to_thread(following) is None


async def test_an_error_of_ours_is_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise HrpcError("not now: ask again in a minute")

    control = Control("orders")
    control.on("refuse", refuse)
    async with control.opened():
        assert await asked("refuse") == {"ok": False, "error": "not now: ask again in a minute"}


async def test_a_fault_in_a_handler_is_logged_and_told_and_the_next_command_is_answered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"ok": {}["nothing"]}  # type: ignore[dict-item]

    parts = made(monkeypatch)
    async with a_server():
        parts[0].control.on("fault", fault)
        for _ in range(2):
            assert (await asked("fault"))[
                "error"
            ] == "the command failed in the server: KeyError('nothing'); its log says where"
    assert "the command 'fault' failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        *(b"hello\n", b"[]\n", b'"x"\n', b"{}\n", b'{"command": []}\n', b"\xff\n", b"x" * 100_000),
        b"[" * 20_000 + b"\n",
    ],
)
async def test_what_is_no_request_is_refused(own_folder: Path, line: bytes) -> None:
    async with Control("orders").opened():
        assert (await sent(own_folder, line)).startswith(b'{"ok": false, "error": "no')


async def test_a_command_that_is_not_there_is_refused_with_those_that_are() -> None:
    control = Control("orders")
    control.on("readiness", lambda _: asyncio.sleep(0, {"ok": True}))
    async with control.opened():
        assert (await asked("lunch"))["error"] == "no command 'lunch' here; there are readiness"


async def test_who_sends_nothing_is_sent_away(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrpc.server.control.REQUEST_LIMIT", 0.05)
    async with Control("orders").opened():
        assert b"no request came" in await sent(own_folder, b"")


async def test_the_end_of_the_server_ends_answers_and_waits_for_nobody() -> None:
    async def for_ever(_: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        yield {"ok": True}
        await asyncio.Event().wait()

    control = Control("orders")
    control.on("wait", for_ever)
    with ExitStack() as stack:
        async with asyncio.timeout(30), control.opened():
            reached = stack.enter_context(await asyncio.to_thread(reach))
            answers = reached.answers("wait", timeout=30)
            await asyncio.to_thread(next, answers)
        assert await asyncio.to_thread(next, answers, None) is None


async def test_a_server_listens_from_its_start_to_its_end_and_leaves_nothing(own_folder: Path) -> None:
    for _ in range(2):
        async with a_server():
            assert [file.name for file in own_folder.iterdir()] == [f"life-{os.getpid()}.sock"]
        assert list(own_folder.iterdir()) == []


async def test_a_job_listens_as_well(own_folder: Path) -> None:
    def job() -> list[str]:
        async def look() -> list[str]:
            return [file.name for file in own_folder.glob("*.sock")]

        return hrpc.new_server(hrpc.with_server_name("nightly")).run(look)

    assert await asyncio.to_thread(job) == [f"nightly-{os.getpid()}.sock"]


async def test_without_a_folder_the_server_runs_and_says_once_what_is_missing(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_folder.mkdir()
    own_folder.chmod(0o755)
    async with a_server():
        pass
    output = capsys.readouterr().out
    assert output.count("no control socket") == 1
    assert "others may enter it (mode 755): chmod 700 it; HRPC_RUN_DIR names another folder" in output
    assert list(own_folder.iterdir()) == []


async def test_a_server_that_is_not_to_be_reached_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HRPC_RUN_DIR", "none")
    async with a_server():
        pass
    assert "control socket" not in capsys.readouterr().out


async def test_where_the_session_has_no_folder_the_temporary_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HRPC_RUN_DIR")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with a_server():
        assert (await asked("lunch"))["ok"] is False
    assert "no control socket" not in capsys.readouterr().out


async def test_a_service_is_found_by_name_or_process_and_never_guessed(own_folder: Path) -> None:
    async with Control("orders").opened(), Control("users").opened():
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(own_folder / "orders-1.sock"))
        with await asyncio.to_thread(reach, "orders") as reached:
            assert (reached.name, reached.pid) == ("orders", os.getpid())
        told = (
            rf"2 services run here, orders \(pid {os.getpid()}\), users \(pid {os.getpid()}\): choose one with --name"
        )
        with pytest.raises(ReachError, match=told):
            await asyncio.to_thread(reach)
        with pytest.raises(ReachError, match="no service 'stock' runs here: it has ended, or runs as another user"):
            await asyncio.to_thread(reach, "stock")
        with pytest.raises(ReachError, match="no service with the process id 1 runs here"):
            await asyncio.to_thread(reach, None, 1)


async def test_a_server_that_does_not_answer_is_given_up_at_the_limit() -> None:
    control = Control("orders")
    control.on("hang", lambda _: asyncio.Event().wait())  # type: ignore[arg-type, return-value]
    async with control.opened():
        with pytest.raises(ReachError, match=rf"orders \(pid {os.getpid()}\) gave no answer within 0.1 s"):
            await asked("hang", timeout=0.1)


def made(monkeypatch: pytest.MonkeyPatch) -> list[Parts]:
    """The parts of the servers that start from now on."""
    parts: list[Parts] = []

    class Seen(Parts):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            parts.append(self)

    monkeypatch.setattr("hrpc.server.running.Parts", Seen)
    return parts
