"""The folder of the control sockets: it is this user's alone, or it is not used."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hrpc import run_folder
from hrpc.run_folder import LONGEST, RunFolder, RunFolderError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with run_folder.opened(str(tmp_path / "run"), make=True) as opened:
        yield opened


def left_behind(path: Path) -> None:
    """A socket on which nobody listens any more, as a killed process leaves it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def a_dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_it_is_the_named_folder_else_that_of_the_session_else_a_temporary_one() -> None:
    of_user = f"hrpc-{os.geteuid()}"
    assert run_folder.candidates({"HRPC_RUN_DIR": "/run/a/", "XDG_RUNTIME_DIR": "/run/user/1"}) == ["/run/a"]
    assert run_folder.candidates({"XDG_RUNTIME_DIR": "/run/user/1"}) == ["/run/user/1/hrpc", f"/tmp/{of_user}"]
    assert run_folder.candidates({"TMPDIR": "/var/tmp"}) == [f"/var/tmp/{of_user}"]
    assert run_folder.candidates({}) == [f"/tmp/{of_user}"]
    assert run_folder.candidates({"HRPC_RUN_DIR": "none"}) == []
    with pytest.raises(RunFolderError, match="takes an absolute path"):
        run_folder.candidates({"HRPC_RUN_DIR": "run"})


def test_it_is_made_for_this_user_alone(tmp_path: Path) -> None:
    with run_folder.opened(str(tmp_path / "deep" / "run"), make=True):
        found = (tmp_path / "deep" / "run").stat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o700, os.geteuid())


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o711, 0o777])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(RunFolderError, match=rf"run: others may enter it \(mode {mode:o}\): chmod 700 it"):
        run_folder.opened(str(path), make=True).__enter__()
    assert path.stat().st_mode & 0o777 == mode


def test_a_symbolic_link_is_refused_even_to_a_folder_of_this_user(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "real")
    with pytest.raises(RunFolderError, match="run: it is no folder, or a symbolic link; HRPC_RUN_DIR names another"):
        run_folder.opened(str(tmp_path / "run"), make=True).__enter__()


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RunFolderError):
        run_folder.opened(str(tmp_path / "run"), make=True).__enter__()
    with pytest.raises(RunFolderError, match="it is no folder"):
        run_folder.opened(str(tmp_path / "run")).__enter__()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    own = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: own + 1)
    with pytest.raises(RunFolderError, match=rf"it belongs to user {own}, and not to user {own + 1}"):
        run_folder.opened(str(path), make=True).__enter__()


def test_a_socket_is_listed_by_name_and_process_and_only_this_user_reaches_it(folder: RunFolder) -> None:
    server, file = folder.listen("my-orders-2")
    with server:
        assert folder.sockets() == [("my-orders-2", os.getpid(), file)]
        assert os.stat(os.path.join(folder.path, file)).st_mode & 0o777 == 0o600
        folder.connect(file, timeout=1).close()


def test_two_servers_of_one_name_in_one_process_have_a_socket_each(folder: RunFolder) -> None:
    (first, one), (second, two) = folder.listen("orders"), folder.listen("orders")
    with first, second:
        assert one != two
        assert {(entry.name, entry.pid) for entry in folder.sockets()} == {("orders", os.getpid())}


def test_what_an_earlier_process_with_this_number_left_is_replaced(folder: RunFolder) -> None:
    left_behind(Path(folder.path) / f"orders-{os.getpid()}.sock")
    server, file = folder.listen("orders")
    with server:
        assert file == f"orders-{os.getpid()}.sock"


def test_a_sweep_removes_only_what_processes_left_that_are_gone(folder: RunFolder) -> None:
    path = Path(folder.path)
    left_behind(path / f"gone-{a_dead_pid()}.sock")
    left_behind(path / f"starting-{os.getpid()}.sock")
    (path / "notes.txt").touch()
    elsewhere = path / f"elsewhere-{a_dead_pid()}.sock"
    with socket.socket(socket.AF_UNIX) as in_another_container:
        in_another_container.bind(str(elsewhere))
        in_another_container.listen()
        folder.sweep()
        assert {file.name for file in path.iterdir()} == {
            elsewhere.name,
            "notes.txt",
            f"starting-{os.getpid()}.sock",
        }


def test_a_socket_is_made_and_reached_where_the_path_is_too_long_for_one(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * LONGEST)
    with run_folder.opened(str(deep), make=True) as folder:
        server, file = folder.listen("orders")
        with server:
            folder.connect(file, timeout=1).close()


def test_a_folder_that_takes_the_place_of_the_checked_one_gets_no_connection(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with run_folder.opened(str(path), make=True) as folder:
        path.rename(tmp_path / "moved")
        path.mkdir()
        with socket.socket(socket.AF_UNIX) as false:
            false.bind(str(path / "orders-1.sock"))
            false.listen()
            with pytest.raises(FileNotFoundError):
                folder.connect("orders-1.sock", timeout=1)
            with pytest.raises(FileNotFoundError):
                folder.listen("orders")
