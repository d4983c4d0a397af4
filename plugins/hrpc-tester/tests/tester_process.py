"""A shop with a tester in a process of its own: where a browser is used, its tools have the event loop."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.json_format import MessageToDict
from tester_service import Shop, shop

import hrpc
import hrpc_tester

LIMIT = 60.0


class Running:
    """The process, as its tests see it."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lines = link.makefile("r")
        self.url = f"http://127.0.0.1:{json.loads(self._lines.readline())}/"

    def asked(self) -> dict[str, Any]:
        """What its servicer has had since the last time: `requests`, and of the last Tell more."""
        self._link.sendall(b"\n")
        asked: dict[str, Any] = json.loads(self._lines.readline())
        return asked

    def stop(self) -> None:
        """Has it stop."""
        self._link.shutdown(socket.SHUT_WR)
        self._lines.close()


@contextmanager
def running(run_folder: str) -> Iterator[Running]:
    """Starts one, and stops it."""
    ours, its = socket.socketpair()
    ours.settimeout(LIMIT)
    with ours, its:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(its.fileno())],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HRPC_RUN_DIR": run_folder},
            pass_fds=[its.fileno()],
        )
        try:
            its.close()
            started = Running(ours)
            yield started
            started.stop()
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()
            process.wait()


async def _live(link: socket.socket) -> None:
    tester = hrpc_tester.Tester(0)
    server, servicer = shop(hrpc.with_plugins(tester))
    reader, writer = await asyncio.open_connection(sock=link)
    async with server:
        writer.write(b"%d\n" % tester.port)
        async for _ in reader:
            writer.write(json.dumps(_asked(servicer)).encode() + b"\n")
            servicer.requests.clear()
    writer.close()


def _asked(servicer: Shop) -> dict[str, Any]:
    return {
        "requests": [MessageToDict(request, use_integers_for_enums=True) for request in servicer.requests],
        "metadata": {name: value for name, value in servicer.metadata.items() if isinstance(value, str)},
        "remaining": servicer.remaining,
        "trace_id": servicer.context and servicer.context.trace_id,
    }


if __name__ == "__main__":
    asyncio.run(_live(socket.socket(fileno=int(sys.argv[1]))))
