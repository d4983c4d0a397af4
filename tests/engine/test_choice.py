"""Which engine serves: the code says, the environment wins, and what does not go is refused by its name."""

from __future__ import annotations

import builtins
import tempfile
from pathlib import Path
from typing import Any

import grpc
import pytest

import hrpc
from hrpc.errors import BindError, EngineMissing, OptionError, StartError
from hrpc.option import fold
from hrpc.option.native import PROVEN_ON, RESTRICTIONS
from tests.echo import add_echo

NAME = hrpc.with_server_name("chosen")
LOCAL = hrpc.with_listen_port(0, host="127.0.0.1")
NATIVE = hrpc.with_engine("native", allow_unbounded_receive=True)


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HRPC_ENGINE", raising=False)


def test_grpcio_serves_when_nothing_is_chosen() -> None:
    assert fold([NAME], {}).engine.kind == "grpcio"
    assert fold([NAME], {"HRPC_ENGINE": ""}).engine.kind == "grpcio"


def test_the_environment_wins_over_the_code() -> None:
    assert fold([NAME, NATIVE], {"HRPC_ENGINE": "grpcio"}).engine.kind == "grpcio"
    settings = fold([NAME, hrpc.with_engine("grpcio", allow_unbounded_receive=True)], {"HRPC_ENGINE": "native"})
    assert settings.engine.kind == "native"


def test_a_choice_that_is_none_names_where_it_was_made() -> None:
    with pytest.raises(OptionError, match=r"hrpc.with_engine\('rust'\): takes \"grpcio\" or \"native\""):
        hrpc.with_engine("rust")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="HRPC_ENGINE='rust' in the environment: takes grpcio or native"):
        fold([NAME], {"HRPC_ENGINE": "rust"})
    with pytest.raises(OptionError, match=r"io_threads=0"):
        hrpc.with_engine("native", io_threads=0)
    with pytest.raises(OptionError, match=r"allow_unbounded_receive=1"):
        hrpc.with_engine("native", allow_unbounded_receive=1)  # type: ignore[arg-type]


@pytest.mark.skipif("unbounded receive" not in RESTRICTIONS, reason="lifted")
def test_the_native_engine_has_to_be_acknowledged_in_code() -> None:
    with pytest.raises(OptionError, match=r'\(hrpc.with_engine\("native"\)\).*allow_unbounded_receive=True'):
        fold([NAME, hrpc.with_engine("native")], {})
    with pytest.raises(OptionError, match=r"\(HRPC_ENGINE=native\).*allow_unbounded_receive=True"):
        fold([NAME], {"HRPC_ENGINE": "native"})


REFUSED = {
    "tls": hrpc.with_server_certs("a.pem", "a.key"),
    "compression": hrpc.with_compression("gzip"),
    "connection age": hrpc.with_keepalive(age=60),
    "channelz": hrpc.with_channelz(),
}


@pytest.mark.parametrize("name", [name for name, found in RESTRICTIONS.items() if found.answer == "refused"])
def test_what_the_native_engine_does_not_do_is_refused_by_the_name_of_the_option(name: str) -> None:
    option = REFUSED[name]
    with pytest.raises(OptionError, match=f"hrpc.{option.name}.* does not go with the native engine"):
        fold([NAME, NATIVE, option], {})
    assert fold([NAME, option], {}).engine.kind == "grpcio"


def test_channelz_is_not_offered_by_the_native_engine_unless_it_is_asked_for() -> None:
    assert fold([NAME, NATIVE], {}).channelz is False
    assert fold([NAME], {}).channelz is None


async def started(*options: hrpc.Option) -> None:
    server = hrpc.new_server(NAME, LOCAL, *options)
    add_echo(server)
    async with server:
        pass


async def test_the_log_says_which_engine_serves_and_that_native_is_experimental(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await started()
    assert f"gRPC is served by grpcio {grpc.__version__}" in capsys.readouterr().out
    await started(NATIVE)
    log = capsys.readouterr().out
    assert f"gRPC is served by pygrpc-native {PROVEN_ON[-1]}, which is experimental" in log
    assert "hrpc is tested with" not in log


async def test_a_version_that_was_not_tested_is_told_in_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pygrpc_native.__version__", "0.5.9")
    await started(NATIVE)
    assert "not with 0.5.9" in capsys.readouterr().out


async def test_a_package_that_is_not_installed_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def missing(name: str, *args: Any, **named: Any) -> Any:
        if name == "pygrpc_native":
            raise ImportError("No module named 'pygrpc_native'")
        return importing(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(StartError, match=r"bind: .*No module named 'pygrpc_native'.* hrpc\[native\]") as caught:
        await started(NATIVE)
    assert isinstance(caught.value.__cause__, EngineMissing)


@pytest.mark.parametrize("folder", ["nowhere", "x" * 90])
async def test_a_folder_that_cannot_hold_the_socket_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    if folder != "nowhere":
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    with pytest.raises(StartError, match=r"bind: the native engine needs a folder .* set TMPDIR") as caught:
        await started(NATIVE)
    assert isinstance(caught.value.__cause__, BindError)
    assert not list((tmp_path / folder).glob("*"))


async def test_a_stop_leaves_no_folder_behind(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    await started(NATIVE)
    assert not list(short_folder.iterdir())
