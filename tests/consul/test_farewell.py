"""No connection outlives the client, be the agent too busy to say farewell."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hrpc.abc import Selection
from hrpc.consul import connect
from hrpc.option import Consul
from tests.authority import Authority

LEADER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"127.0.0.1:8300"'


class Silent:
    """Speaks TLS, says who leads, and to whoever asks for a service nothing more, not even that it has gone."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.asked, self._let_go = threading.Event(), threading.Event()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(*authority.write(folder, "agent"))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._talk) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _talk(self) -> None:
        # A second connection may not come, and one that is cut off is no fault here.
        with suppress(OSError), self._context.wrap_socket(self._listener.accept()[0], server_side=True) as peer:
            while b"/v1/health" not in (data := peer.recv(65536)) and data:
                peer.sendall(LEADER)
            if data:
                self.asked.set()
                self._let_go.wait(30)

    def end(self) -> None:
        self._let_go.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def silent(authority: Authority, tmp_path: Path) -> Iterator[Silent]:
    agent = Silent(authority, tmp_path / "agent")
    yield agent
    agent.end()


async def test_a_query_that_is_cut_off_leaves_no_socket_open(silent: Silent, authority: Authority) -> None:
    """asyncio would wait half a minute for the agent's farewell, and the loop ends before."""
    address = f"https://127.0.0.1:{silent.port}"
    async with connect(Consul(address=address, ca_cert=str(authority.path))) as client:
        client.instances(Selection("held"))
        assert await asyncio.to_thread(silent.asked.wait, 20)
    assert open_to(silent.port) == []


def open_to(port: int) -> list[socket.socket]:
    """The sockets of this process that are connected to a port of 127.0.0.1."""
    found = []
    for each in gc.get_objects():
        if isinstance(each, socket.socket) and each.fileno() != -1:
            try:
                if each.getpeername() == ("127.0.0.1", port):
                    found.append(each)
            except OSError:
                continue  # connected to nobody
    return found
