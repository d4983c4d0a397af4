"""The line between the watcher and the process that serves: it asks for its port, and sees when the watcher is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from contextlib import suppress
from typing import Self

from hrpc import listener
from hrpc.cli.errors import CommandError
from hrpc.errors import BindError

VARIABLE = "_HRPC_RELOAD_LINE"
"""Where a process that was started by a watcher finds its end of the line: the number of a descriptor."""

_OPTION = "hrpc.with_listen_port"
_LONGEST = 4096


class Watched:
    """The end of the process that serves."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._waiting: threading.Thread | None = None

    @classmethod
    def of_this_process(cls) -> Watched | None:
        """That of this process, or None when it was started by something else than a watcher."""
        number = os.environ.pop(VARIABLE, None)
        return None if number is None else cls(socket.socket(fileno=int(number)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Not closed while the thread may read from it; both end with the process.
        if self._waiting is None:
            self._line.close()

    def port(self, host: str, port: int) -> int:
        """The port to listen on, which the watcher holds; the same one after each restart. Raises `CommandError`."""
        self._line.sendall(json.dumps([host, port]).encode())
        answer = json.loads(self._line.recv(_LONGEST) or b'{"error": "the process that watches files has ended"}')
        if "error" in answer:
            raise CommandError(answer["error"])
        return int(answer["port"])

    def end_with_watcher(self) -> None:
        """From now on, the end of the watcher is the end of this process."""
        self._waiting = threading.Thread(target=self._wait, name="hrpc-reload", daemon=True)
        self._waiting.start()

    def _wait(self) -> None:
        with suppress(ConnectionError):
            while self._line.recv(_LONGEST):
                pass
        os.kill(os.getpid(), signal.SIGTERM)


class Ports:
    """The end of the watcher: the ports that it holds."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], socket.socket] = {}

    def answer(self, asked: bytes) -> bytes:
        """What to answer to `Watched.port`."""
        host, port = json.loads(asked)
        try:
            return json.dumps({"port": self._of(host, port)}).encode()
        except BindError as error:
            return json.dumps({"error": str(error)}).encode()

    def _of(self, host: str, port: int) -> int:
        sock = self._held.get((host, port))
        if sock is None:
            # What it asked for before it does not need any more, and it may be in the way of the new one.
            self.close()
            sock = self._held[host, port] = listener.held("gRPC", host, port, _OPTION)
        return int(sock.getsockname()[1])

    def close(self) -> None:
        """Lets them go."""
        for sock in self._held.values():
            sock.close()
        self._held.clear()
