"""TLS: certificates that follow their files, and clients that have to show one."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

import hrpc
from hrpc.errors import CertificateError, StartError
from hrpc.tls import files
from hrpc.tls.validity import expires
from tests.authority import Authority
from tests.echo import call
from tests.eventually import eventually
from tests.metrics.scraping import samples, value
from tests.server.recorded import a_server

Output = pytest.CaptureFixture[str]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def shown(address: str, authority: Authority) -> str:
    """The name in the certificate that the server shows to a new connection."""
    context = ssl.create_default_context(cafile=authority.path)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        certificate = writer.get_extra_info("peercert")
    finally:
        # At once: a farewell that the end of the test cuts off leaves a transport behind, of which a later test hears.
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
    return str(dict(field[0] for field in certificate["subject"])["commonName"])


def secure(address: str, authority: Authority, own: tuple[bytes, bytes] | None = None) -> grpc.aio.Channel:
    """A channel that shows a certificate of its `own` when it has one."""
    public, private = own or (None, None)
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority.pem, private, public))


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    tmp_path: Path, authority: Authority, capsys: Output
) -> None:
    public, private = authority.write(tmp_path / "certs", "first")
    async with a_server(hrpc.with_server_certs(public, private)) as server:
        async with secure(server.address, authority) as channel:
            assert await call(channel, "Echo") == b"x"
            assert await shown(server.address, authority) == "first"
            authority.write(tmp_path / "certs", "second")
            assert await shown(server.address, authority) == "second"
            assert await call(channel, "Echo") == b"x"
        assert await shown(server.address, authority) == "second"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "have changed and are used" in line]
    end = datetime.now(UTC) + timedelta(days=30)
    assert str(public) in line
    assert f"valid until {end:%Y-%m-%d}" in line


def no_key(public: Path, private: Path) -> None:
    private.unlink()


def other_key(public: Path, private: Path) -> None:
    private.write_bytes(Authority(private.parent, "other").sign("other")[1])


def half_written(public: Path, private: Path) -> None:
    public.write_bytes(public.read_bytes()[:200])


def empty(public: Path, private: Path) -> None:
    public.write_bytes(b"")
    private.write_bytes(b"")


@pytest.mark.parametrize("spoil", [no_key, other_key, half_written, empty])
async def test_what_cannot_be_used_is_told_once_and_the_certificate_before_goes_on(
    tmp_path: Path, authority: Authority, capsys: Output, spoil: Callable[[Path, Path], None]
) -> None:
    public, private = authority.write(tmp_path / "certs", "first")
    async with a_server(hrpc.with_server_certs(public, private)) as server:
        spoil(public, private)
        for _ in range(3):
            assert await shown(server.address, authority) == "first"
        (line,) = [line for line in capsys.readouterr().out.splitlines() if '"error"' in line]
        assert str(private) in line
        assert "goes on being used, valid until" in line
        authority.write(tmp_path / "certs", "second")
        assert await shown(server.address, authority) == "second"


async def test_links_that_are_swapped_as_kubernetes_does_are_followed(tmp_path: Path, authority: Authority) -> None:
    for name in ("first", "second"):
        authority.write(tmp_path / name, name)
    current = tmp_path / "..data"
    current.symlink_to(tmp_path / "first")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(current / name)
    async with a_server(hrpc.with_server_certs(tmp_path / "tls.crt", tmp_path / "tls.key")) as server:
        assert await shown(server.address, authority) == "first"
        (tmp_path / "..new").symlink_to(tmp_path / "second")
        (tmp_path / "..new").rename(current)
        assert await shown(server.address, authority) == "second"


async def test_a_restart_reads_the_files_before_anybody_connects(
    tmp_path: Path, authority: Authority, capsys: Output
) -> None:
    public, private = authority.write(tmp_path / "certs", "first")
    async with a_server(hrpc.with_server_certs(public, private)) as server:
        authority.write(tmp_path / "certs", "second")
        assert server._running is not None
        server._running.request_restart()
        output = ""

        async def told() -> bool:
            nonlocal output
            output += capsys.readouterr().out
            return "restart hooks have run" in output

        await eventually(told)
        assert output.count("have changed and are used") == 1
        assert await shown(server.address, authority) == "second"
    assert "have changed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("valid", "says"),
    [
        (timedelta(days=6), "expires soon, valid until"),
        (timedelta(hours=-1), "has expired, valid until"),
        (timedelta(days=8), None),
    ],
)
async def test_a_certificate_that_expires_soon_is_warned_of(
    tmp_path: Path, authority: Authority, capsys: Output, valid: timedelta, says: str | None
) -> None:
    public, private = authority.write(tmp_path / "certs", "first", valid)
    async with a_server(hrpc.with_server_certs(public, private)):
        pass
    output = capsys.readouterr().out
    assert ("TLS: " in output) == (says is not None)
    assert says is None or f"the certificate '{public}' {says}" in output


async def test_a_certificate_that_has_come_near_its_end_is_warned_of_once(
    tmp_path: Path, authority: Authority, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, private = authority.write(tmp_path / "certs", "first")
    async with a_server(hrpc.with_server_certs(public, private)) as server:
        assert await shown(server.address, authority) == "first"
        assert "expires soon" not in capsys.readouterr().out
        monkeypatch.setattr(files, "EXPIRES_SOON", timedelta(days=31))
        for _ in range(3):
            assert await shown(server.address, authority) == "first"
    assert capsys.readouterr().out.count("expires soon") == 1


async def test_a_file_whose_time_is_set_back_is_read_as_well(tmp_path: Path, authority: Authority) -> None:
    public, private = authority.write(tmp_path / "certs", "first")

    def write(name: str) -> None:
        for path, pem in zip((public, private), authority.sign(name), strict=True):
            path.write_bytes(pem.ljust(2000, b"\n"))
            os.utime(path, (1_700_000_000, 1_700_000_000))

    write("first")
    async with a_server(hrpc.with_server_certs(public, private)) as server:
        assert await shown(server.address, authority) == "first"
        write("second")
        assert await shown(server.address, authority) == "second"


async def test_the_end_of_the_certificate_in_use_is_measured(tmp_path: Path, authority: Authority) -> None:
    def end() -> float:
        return x509.load_pem_x509_certificate(
            (tmp_path / "certs" / "tls.crt").read_bytes()
        ).not_valid_after_utc.timestamp()

    public, private = authority.write(tmp_path / "certs", "first")
    async with a_server(hrpc.with_server_certs(public, private), hrpc.with_metrics(0)) as server:
        for valid in (30, 60):
            authority.write(tmp_path / "certs", "first", timedelta(days=valid))
            await shown(server.address, authority)
            found = value(await samples(server), "hrpc_certificate_expiry_timestamp_seconds", end="server")
            assert found == end()


async def test_with_an_authority_for_clients_only_its_clients_are_let_in_and_a_handler_knows_them(
    tmp_path: Path, authority: Authority
) -> None:
    async def who(_: bytes, context: Any) -> bytes:
        assert context.peer_identity_key() == "x509_subject_alternative_name"
        assert context.auth_context()["x509_common_name"] == [b"caller"]
        return b" ".join(context.peer_identities())

    clients, strangers = Authority(tmp_path, "clients"), Authority(tmp_path, "strangers")
    certs = authority.write(tmp_path / "certs", "server")
    async with a_server(hrpc.with_server_certs(*certs, client_ca=clients.path), Who=who) as server:
        async with secure(server.address, authority, clients.sign("caller")) as channel:
            assert await call(channel, "Who") == b"caller 127.0.0.1"
        for own in (None, strangers.sign("caller")):
            async with secure(server.address, authority, own) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(channel, "Who")
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        clients.path.write_bytes(strangers.pem)
        async with secure(server.address, authority, strangers.sign("caller")) as channel:
            assert await call(channel, "Who") == b"caller 127.0.0.1"


async def test_an_authority_for_clients_that_is_none_is_refused_at_the_start(
    tmp_path: Path, authority: Authority
) -> None:
    certs = authority.write(tmp_path / "certs", "server")
    for name, says in (("nowhere.pem", "No such file"), ("certs/tls.key", "no PEM certificate of an authority")):
        with pytest.raises(StartError, match=f"{name}.*{says}") as caught:
            async with a_server(hrpc.with_server_certs(*certs, client_ca=tmp_path / name)):
                pass
        assert isinstance(caught.value.__cause__, CertificateError)


def test_the_end_of_a_certificate_is_what_another_reader_finds(authority: Authority) -> None:
    for years in (0, 1, 20, 60, 4000):  # from 2050 on the year has four digits
        pem = authority.sign("a", timedelta(days=365.25 * years + 1))[0]
        assert expires(pem.decode()) == x509.load_pem_x509_certificate(pem).not_valid_after_utc
    chain = authority.sign("leaf", timedelta(days=1))[0] + authority.pem
    assert expires(chain.decode()) == x509.load_pem_x509_certificate(chain).not_valid_after_utc


@given(st.binary(max_size=300))
def test_bytes_that_are_no_certificate_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not an X\.509 certificate"):
        expires(ssl.DER_cert_to_PEM_cert(data))
