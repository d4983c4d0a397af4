"""What a server tells of itself to those that call its own methods."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import grpc.aio
import pytest

import hrpc
from hrpc.errors import NotRunning, StartError
from hrpc.option import Option
from hrpc.server.served import served
from tests.authority import Authority
from tests.echo import SERVICE, add_echo, call

OWN_SOCKET = Option("a plugin", {"own_socket": True})


def server(*options: hrpc.Option) -> hrpc.Server:
    made = hrpc.new_server(hrpc.with_server_name("shop"), hrpc.with_listen_port(0, host="127.0.0.1"), *options)
    add_echo(made)
    return made


async def test_a_server_that_runs_tells_its_methods_and_where_to_call_them() -> None:
    with pytest.raises(NotRunning):
        served()
    async with server() as running:
        assert served().settings.server_name == "shop"
        assert f"/{SERVICE}/Echo" in served().methods
        assert "/grpc.health.v1.Health/Check" in served().methods
        assert not served().is_generic
        assert served().target == running.address


async def test_a_socket_of_its_own_leads_past_certificates_and_is_gone_with_the_server(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    public, private = authority.write(tmp_path / "server", "shop")
    certificates = hrpc.with_server_certs(str(public), str(private), str(authority.path))
    async with server(certificates, OWN_SOCKET):
        target = served().target
        assert target is not None
        path = target.removeprefix("unix:")
        assert os.stat(os.path.dirname(path)).st_mode & 0o077 == 0
        async with grpc.aio.insecure_channel(target) as channel:
            assert await call(channel, "Echo") == b"x"
        found = served().certificates
        assert found is not None
        assert found.paths.public == str(public)
    assert not os.path.exists(path)


async def test_without_a_place_for_its_socket_a_server_with_certificates_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, private = Authority(tmp_path).write(tmp_path / "server", "shop")
    too_deep = tmp_path / ("x" * 100)
    too_deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(too_deep))
    with pytest.raises(StartError, match=r"a plugin calls this server past its certificates, .*; set TMPDIR"):
        async with server(hrpc.with_server_certs(str(public), str(private)), OWN_SOCKET):
            pass
    async with server(OWN_SOCKET) as running:
        assert served().target == running.address
    assert not any(too_deep.iterdir())


async def test_nothing_leads_past_certificates_when_nobody_wants_it(tmp_path: Path) -> None:
    public, private = Authority(tmp_path).write(tmp_path / "server", "shop")
    async with server(hrpc.with_server_certs(str(public), str(private))):
        assert served().target is None
