"""Services that are called over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import service
from hrpc.consul import Client
from hrpc.errors import CertificateError, StartError
from hrpc.service import connections
from hrpc.testing.servers import ConsulServer
from tests.authority import Authority
from tests.echo import call
from tests.eventually import eventually
from tests.service.peers import called, caller, entry

Output = pytest.CaptureFixture[str]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def secured(
    registry: Client, name: str, authority: Authority, clients: Authority | None = None, **methods: Any
) -> AsyncIterator[None]:
    """A service with a certificate for its name, which asks its callers for one of `clients`."""
    public, private = authority.sign(name)
    ca = None if clients is None else clients.pem
    credentials = grpc.ssl_server_credentials([(private, public)], ca, clients is not None)
    async with called(b"a", credentials, **methods) as port:
        async with registry.registered(entry(name, 1, port, protocol="grpcs")):
            yield


async def unavailable(channel: grpc.aio.Channel) -> bool:
    """Whether a call ends with UNAVAILABLE, as it does when the handshake fails."""
    try:
        await call(channel, "Name")
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_a_service_is_called_when_its_certificate_is_made_out_to_its_name(
    consul: ConsulServer, registry: Client, authority: Authority
) -> None:
    async with secured(registry, "secret", authority):
        async with caller(consul, hrpc.with_client_certs(authority.path)), service.channel("secret") as channel:
            assert await call(channel, "Name") == b"a"


@pytest.mark.parametrize(("name", "expected"), [("{service}", False), ("{service}.internal", True)])
async def test_the_name_in_a_certificate_is_checked(
    consul: ConsulServer, registry: Client, authority: Authority, name: str, expected: bool
) -> None:
    public, private = authority.sign("named.internal")
    credentials = grpc.ssl_server_credentials([(private, public)])
    option = hrpc.with_client_certs(authority.path, name=name)
    async with caller(consul, option), called(b"a", credentials) as port:
        async with registry.registered(entry("named", 1, port, protocol="grpcs")), service.channel("named") as channel:
            await service.ready("named")
            assert await unavailable(channel) != expected


async def test_a_certificate_of_another_authority_is_not_taken(
    consul: ConsulServer, registry: Client, authority: Authority, tmp_path: Path, capsys: Output
) -> None:
    own = hrpc.with_client_certs(Authority(tmp_path, "another").path)
    async with secured(registry, "foreign", authority):
        async with caller(consul, own), service.channel("foreign") as channel:
            assert await unavailable(channel)
        assert "with_client_certs" not in capsys.readouterr().out
        async with caller(consul), service.channel("foreign") as channel:  # public authorities, as nothing is given
            assert await unavailable(channel)
        assert "'foreign' serves TLS" in capsys.readouterr().out


@pytest.mark.parametrize("allowed", [False, True])
async def test_plain_text_is_for_who_allows_it(
    consul: ConsulServer, registry: Client, authority: Authority, allowed: bool
) -> None:
    option = hrpc.with_client_certs(authority.path, allow_plain=allowed)
    name = f"plain-{allowed}".lower()
    async with caller(consul, option), called(b"a") as port, registry.registered(entry(name, 1, port, protocol="grpc")):
        async with service.channel(name) as channel:
            await service.ready(name)
            assert await unavailable(channel) != allowed


@pytest.mark.parametrize("by_itself", [False, True])
async def test_a_new_certificate_is_shown_from_then_on_and_running_calls_go_on(
    consul: ConsulServer,
    registry: Client,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_itself: bool,
) -> None:
    entered, opened = asyncio.Event(), asyncio.Event()

    async def who(_: bytes, context: Any) -> bytes:
        return bytes(context.auth_context()["x509_common_name"][0])

    async def hold(_: bytes, context: Any) -> bytes:
        entered.set()
        await opened.wait()
        return await who(_, context)

    if by_itself:
        monkeypatch.setattr(connections, "FOLLOW_INTERVAL", 0.01)
    clients, name = Authority(tmp_path, "clients"), f"mutual-{by_itself}".lower()
    public, private = clients.write(tmp_path / "own", "first")
    option = hrpc.with_client_certs(authority.path, public, private)
    async with secured(registry, name, authority, clients, Who=who, Hold=hold), caller(consul, option) as server:
        async with service.channel(name) as channel:
            assert await call(channel, "Who") == b"first"
            running = asyncio.ensure_future(call(channel, "Hold"))
            await entered.wait()
            clients.write(tmp_path / "own", "second")
            if not by_itself:
                assert server._running is not None
                server._running.request_restart()

            async def renewed() -> bool:
                return bool(await call(channel, "Who") == b"second")

            await eventually(renewed)
            opened.set()
            assert await running == b"first"


async def test_files_that_cannot_be_used_are_named_at_the_start(
    consul: ConsulServer, authority: Authority, tmp_path: Path
) -> None:
    with pytest.raises(StartError, match=r"connections: hrpc.with_client_certs: cannot read '.*nowhere.pem'") as caught:
        async with caller(consul, hrpc.with_client_certs(tmp_path / "nowhere.pem")):
            pass
    assert isinstance(caught.value.__cause__, CertificateError)
