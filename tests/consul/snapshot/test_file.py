"""The file of a snapshot: whole or not there, and not believed when others can have written it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from loguru import logger

from hrpc.consul.snapshot import file
from hrpc.consul.snapshot.contents import UnusableSnapshot
from hrpc.errors import OptionError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "snapshot"


def test_what_was_written_is_read_and_only_its_owner_can(path: Path) -> None:
    assert file.read(path) is None
    before = os.umask(0)
    try:
        file.write(path, b"one")
        file.write(path, b"two")
    finally:
        os.umask(before)
    assert file.read(path) == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["snapshot"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file.write(path, b"one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        file.write(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["snapshot"]


def test_a_file_that_everybody_can_write_is_refused(path: Path) -> None:
    path.write_bytes(b"one")
    path.chmod(0o622)
    with pytest.raises(UnusableSnapshot, match=r"everybody can write it \(mode 622\): make it 600"):
        file.read(path)


def test_a_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"one")
    monkeypatch.setattr(os, "fstat", lambda _: os.stat_result((0o100600, 0, 0, 1, 12345, 0, 3, 0, 0, 0)))
    with pytest.raises(UnusableSnapshot, match=r"belongs to another user \(12345\)"):
        file.read(path)


def test_a_file_that_everybody_can_read_is_used_and_told_of(path: Path) -> None:
    path.write_bytes(b"one")
    path.chmod(0o644)
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    assert file.read(path) == b"one"
    logger.remove(number)
    assert len(lines) == 1
    assert "everybody can read it (mode 644)" in lines[0]


def test_what_is_no_file_is_refused(path: Path) -> None:
    with pytest.raises(UnusableSnapshot, match="it is no regular file"):
        file.read(Path("/dev/null"))
    path.mkdir()
    with pytest.raises(UnusableSnapshot, match="cannot be read: Is a directory"):
        file.read(path)


def test_a_place_where_no_file_can_be_is_told_at_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="there is no folder '/nowhere': create it"):
        file.check(Path("/nowhere/snapshot"))
    with pytest.raises(OptionError, match="takes the path of a file, and this is a folder"):
        file.check(path.parent)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OptionError, match="this user cannot write in"):
        file.check(path)


def test_what_a_writer_left_behind_that_was_killed_is_removed_later(path: Path) -> None:
    now = time.time()
    for name, age in (
        (".snapshot.a.hrpc-unfinished", 4000),
        (".snapshot.b.hrpc-unfinished", 10),
        (".snapshot.c", 4000),
    ):
        (path.parent / name).touch()
        os.utime(path.parent / name, (now - age, now - age))
    file.tidy(path)
    assert sorted(each.name for each in path.parent.iterdir()) == [".snapshot.b.hrpc-unfinished", ".snapshot.c"]
