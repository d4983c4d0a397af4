"""Ports that no two servers share, also across test runs side by side."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hrpc.testing.servers.errors import ServerFailed

# Below the range from which Linux and macOS take the ports of outgoing connections and of port 0.
_PORTS = range(20000, 32768)


@contextmanager
def reserved_port(wanted: int | None = None) -> Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens, and that nobody else gets from here until the block ends.

    The reservation is a lock on a file: it holds while a server is down, and ends with this process. Raises
    `ServerFailed` when there is no port left, or the `wanted` one is taken.
    """
    candidates = random.sample(_PORTS, k=len(_PORTS)) if wanted is None else [wanted]
    for port in candidates:
        if lock := _reserve(port):
            with lock:
                yield port
            return
    raise ServerFailed(f"port {wanted} is in use: stop what listens there" if wanted else f"no free port in {_PORTS}")


def _reserve(port: int) -> IO[str] | None:
    folder = Path(tempfile.gettempdir()) / f"hrpc-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = (folder / str(port)).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _bind_once(port)
    except OSError:
        lock.close()
        return None
    return lock


def _bind_once(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port))
