"""Who may listen on a port."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from hrpc import listener
from hrpc.errors import PortTaken

HOST = "127.0.0.1"


def as_workers_do(port: int) -> socket.socket:
    """Listens on a port together with others of the same user."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((HOST, port))
    sock.listen()
    return sock


def test_a_held_port_is_for_those_that_share_it_and_for_no_second_holder(free_port: int) -> None:
    port = free_port
    with listener.held("test", HOST, port, "the option"):
        for other in (listener.held, listener.bind, listener.unused):
            with pytest.raises(PortTaken, match=f"test: {HOST}:{port} is in use.* the option"):
                other("test", HOST, port, "the option")
        with as_workers_do(port), as_workers_do(port):
            with pytest.raises(PortTaken):
                listener.held("test", HOST, port, "")
    listener.unused("test", HOST, port, "")


def test_connections_of_the_past_are_not_in_the_way_of_a_holder(free_port: int) -> None:
    port = free_port
    with listener.held("test", HOST, port, ""), as_workers_do(port) as worker:
        with socket.create_connection((HOST, port)) as caller:
            accepted, _ = worker.accept()
            accepted.close()  # the side that closes first keeps the connection in TIME_WAIT
            assert caller.recv(1) == b""
    with listener.held("test", HOST, port, "") as held, as_workers_do(port):
        assert held.getsockname()[1] == port


def test_to_look_whether_a_port_is_unused_answers_no_connection(free_port: int) -> None:
    seen: set[int] = set()
    done = threading.Event()

    def connect() -> None:
        while not done.is_set():
            with socket.socket() as caller:
                seen.add(caller.connect_ex((HOST, free_port)))

    callers = [threading.Thread(target=connect) for _ in range(2)]
    for caller in callers:
        caller.start()
    for _ in range(2000):
        listener.unused("test", HOST, free_port, "")
    done.set()
    for caller in callers:
        caller.join()
    assert seen == {errno.ECONNREFUSED}
