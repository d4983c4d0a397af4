"""The log in a file: it follows a rotation on SIGHUP, and an error of the file ends nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import hrpc
from hrpc.errors import OptionError
from hrpc.log.file_output import FileOutput
from tests.eventually import eventually
from tests.log.recorded import Recorded
from tests.process import running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'


async def test_lines_go_to_the_file_and_after_sighup_to_the_one_that_took_its_place(tmp_path: Path) -> None:
    log, rotated = tmp_path / "service.log", tmp_path / "service.log.1"
    async with running(script(tmp_path, LOCAL, f"hrpc.with_log_file({str(log)!r})")) as process:

        async def says(path: Path, word: str) -> bool:
            return path.exists() and word in path.read_text()

        await eventually(lambda: says(log, "serves on port"), 30)
        log.rename(rotated)
        process.send(signal.SIGHUP)
        await eventually(lambda: says(log, "restart hooks have run"), 30)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    assert "has stopped" in log.read_text()
    assert "serves on port" in rotated.read_text()
    assert all(json.loads(line) for path in (log, rotated) for line in path.read_text().splitlines())
    assert process.output == ""


async def test_sighup_has_all_processes_of_a_service_leave_the_rotated_file(tmp_path: Path) -> None:
    """Also workers that nobody can replace, so that a rotation never leaves somebody with a file that is deleted."""
    log, rotated, broken = tmp_path / "service.log", tmp_path / "service.log.1", tmp_path / "broken"
    before = f"import pathlib\nBROKEN = pathlib.Path({str(broken)!r})\n"
    step = "hrpc.with_pre_run(lambda: 1 / 0 if BROKEN.exists() else None)"
    options = (LOCAL, f"hrpc.with_log_file({str(log)!r})", "hrpc.with_workers(2)", step)
    async with running(script(tmp_path, *options, before=before)) as process:

        async def says(path: Path, word: str) -> bool:
            return path.exists() and word in path.read_text()

        await eventually(lambda: says(log, "tested serves on port"), 30)
        log.rename(rotated)
        broken.touch()
        process.send(signal.SIGHUP)
        await eventually(lambda: says(log, "no new one can take their place"), 30)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    written = log.read_text()
    for name in ("tested", "tested, worker 1", "tested, worker 2"):
        assert f"{name} has stopped" in written
    assert "stop" not in rotated.read_text()


def test_what_is_told_of_the_file_says_where_lines_go_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    output = FileOutput(str(folder / "log"), Recorded())
    folder.rename(tmp_path / "away")
    output.reopen()
    assert output.write(b"1\n")
    output.close()
    assert (tmp_path / "away" / "log").read_text() == "1\n"
    assert "lines go on to the file that was there before; SIGHUP has it tried again" in capsys.readouterr().err
    FileOutput(str(folder / "log"), Recorded())
    assert "lines go to stdout; SIGHUP has it tried again" in capsys.readouterr().err


def test_while_the_file_cannot_be_written_to_lines_go_elsewhere_and_stderr_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instead, path = Recorded(), tmp_path / "missing" / "log"
    output = FileOutput(str(path), instead)
    assert output.write(b"1\n")
    output.reopen()
    path.parent.mkdir()
    output.reopen()
    assert output.write(b"2\n")
    assert (instead.text, path.read_text()) == ("1\n", "2\n")
    output.close()
    assert capsys.readouterr().err.count("No such file or directory") == 1


def test_a_full_disk_loses_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    instead = Recorded()
    output = FileOutput("/dev/full", instead)
    assert all(output.write(line) for line in (b"1\n", b"2\n"))
    output.close()
    assert instead.text == "1\n2\n"
    assert capsys.readouterr().err.count("No space left on device") == 1


@pytest.mark.parametrize("path", ["relative.log", 5, ""])
def test_what_is_no_absolute_path_is_refused(path: str) -> None:
    with pytest.raises(OptionError, match="takes an absolute path"):
        hrpc.with_log_file(path)
