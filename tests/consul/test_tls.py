"""TLS, mutual TLS and the unix socket of a real agent; and what is said when a handshake cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hrpc.abc import Check, Registration, Selection
from hrpc.consul import Client, connect
from hrpc.errors import CertificateError, ConsulRefused, ConsulUnreachable
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, consul_server, reserved_port
from tests import agent
from tests.authority import Authority

CHECK = Check("http", "http://127.0.0.1:9/", 86400.0, 1.0, 60.0)


class Agent:
    """A real agent that asks for certificates over HTTPS, and what belongs to it."""

    def __init__(self, folder: Path, stack: ExitStack, launch: Callable[..., ConsulServer]) -> None:
        self.authority = Authority(folder)
        self.folder = folder
        public, private = self.authority.write(folder / "agent", "server.dc1.consul")
        self.mine = tuple(map(str, self.authority.write(folder / "mine", "orders")))
        https = stack.enter_context(reserved_port())
        self.socket = folder / "http.sock"
        settings = {
            "ports": {"https": https},
            "addresses": {"http": f"127.0.0.1 unix://{self.socket}"},
            "ca_file": str(self.authority.path),
            "cert_file": str(public),
            "key_file": str(private),
            "verify_incoming": True,
        }
        self.plain: ConsulServer = launch(lambda: consul_server(settings))
        self.https = f"https://127.0.0.1:{https}"

    def consul(self, **other: object) -> Consul:
        """How it is reached over TLS, as it should be."""
        given = {"address": self.https, "ca_cert": str(self.authority.path), "timeout": 10.0}
        return Consul(**{**given, "client_cert": self.mine[0], "client_key": self.mine[1], **other})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, _shared: Callable[..., ConsulServer]) -> Iterator[Agent]:
    with ExitStack() as stack:
        yield Agent(tmp_path_factory.mktemp("tls"), stack, _shared)


async def works(client: Client, guarded: Agent, name: str) -> None:
    """Registration, discovery, and a key."""
    entry = Registration(f"{name}-1", name, "127.0.0.1", 4000, ("development",), {}, 1, CHECK)
    async with client.registered(entry):
        found = client.instances(Selection(name, ("development",)))
        await found.ready(20)
        await client.write(f"{name}/key", b"1")
        assert await client.read(f"{name}/key") == b"1"
        assert client.fetch_key(f"{name}/key") == b"1"
        assert [each["Service"]["ID"] for each in await agent.instances(guarded.plain.address, name)] == [f"{name}-1"]


async def test_mutual_tls_to_an_agent_that_verifies(guarded: Agent) -> None:
    async with connect(guarded.consul()) as client:
        await works(client, guarded, "tls")


async def test_authorities_of_a_folder_are_trusted(guarded: Agent, tmp_path: Path) -> None:
    Authority(tmp_path, "another")
    (tmp_path / "ours.pem").write_bytes(guarded.authority.pem)
    async with connect(guarded.consul(ca_cert=str(tmp_path))):
        pass


async def test_the_name_of_the_certificate_can_be_given(guarded: Agent) -> None:
    async with connect(guarded.consul(tls_server_name="server.dc1.consul")):
        pass


async def test_the_unix_socket_of_the_agent(guarded: Agent) -> None:
    async with connect(Consul(address=f"unix://{guarded.socket}")) as client:
        await works(client, guarded, "unix")


async def refused(consul: Consul) -> str:
    """What is said; at the first try, since waiting mends no certificate."""
    with pytest.raises(ConsulUnreachable) as caught:
        async with connect(consul):
            pass
    assert "tried for" not in str(caught.value)
    return str(caught.value)


async def test_an_authority_that_did_not_sign_says_what_to_give(guarded: Agent, tmp_path: Path) -> None:
    text = await refused(guarded.consul(ca_cert=str(Authority(tmp_path, "another").path)))
    assert "its certificate cannot be trusted" in text
    assert "give that of the authority which signed it, Consul(ca_cert=…), CONSUL_CACERT or CONSUL_CAPATH" in text


async def test_without_an_authority_those_of_the_system_count(guarded: Agent) -> None:
    assert "Consul(ca_cert=…)" in await refused(guarded.consul(ca_cert=None))


async def test_another_name_says_which_option_takes_it(guarded: Agent) -> None:
    text = await refused(guarded.consul(tls_server_name="consul.internal"))
    assert "is not valid for 'consul.internal'" in text
    assert "Consul(tls_server_name=…) or CONSUL_TLS_SERVER_NAME" in text


async def test_an_agent_that_asks_for_a_certificate_is_told_so(guarded: Agent, tmp_path: Path) -> None:
    for certificate in (None, Authority(tmp_path, "another").write(tmp_path / "wrong", "orders")):
        public, private = (None, None) if certificate is None else map(str, certificate)
        # Its alert can get lost with the connection; the reason is then told as a guess, after some tries.
        with pytest.raises(ConsulUnreachable, match=r"Consul\(client_cert=…, client_key=…\), or CONSUL_CLIENT_CERT"):
            async with connect(guarded.consul(client_cert=public, client_key=private, timeout=3.0)):
                pass


async def test_http_where_there_is_only_https_and_the_other_way_round(guarded: Agent) -> None:
    with pytest.raises(ConsulRefused, match="speaks only TLS there: make it https://"):
        async with connect(Consul(address=guarded.https.replace("https", "http"))):
            pass
    text = await refused(guarded.consul(address=f"https://{guarded.plain.address}"))
    assert "it speaks no TLS there: make it http://" in text


async def test_files_that_are_no_certificates_are_told_at_once(guarded: Agent, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    for wrong in ({"ca_cert": str(nothing)}, {"ca_cert": "/nowhere.pem"}, {"client_cert": str(nothing)}):
        with pytest.raises(CertificateError, match="the certificates for Consul cannot be used"):
            async with connect(guarded.consul(**wrong)):
                pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(CertificateError, match="has no certificate of an authority"):
        async with connect(guarded.consul(ca_cert=str(tmp_path / "empty"))):
            pass
