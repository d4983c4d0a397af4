"""A server that tests can kill, wipe and start again."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from hrpc.testing.servers.backend import Backend
from hrpc.testing.servers.errors import ServerFailed

START_LIMIT = 60.0
"""Seconds until a server must have answered: first starts on busy machines are slow, and a failure is seen at once."""


class Server(ABC):
    """A real server on a port of 127.0.0.1 that stays its own as long as the ``with`` block that made it."""

    name: str
    host = "127.0.0.1"

    def __init__(self, backend: Backend, port: int) -> None:
        self._backend = backend
        self.port = port

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def source(self) -> str:
        """What runs, for reports: ``program /usr/bin/redis-server 7.0.15`` or ``container redis:7``."""
        return self._backend.source

    @property
    def running(self) -> bool:
        """Whether it runs, which does not yet mean that it answers."""
        return self._backend.running()

    def start(self) -> None:
        """Starts it on the same port with the same data, and returns when it answers requests.

        Raises `ServerFailed`, with the end of its log, when it ends instead or does not answer within 60 s, and when
        it runs already.
        """
        self._backend.start()
        end = time.monotonic() + START_LIMIT
        while not self.answers():
            if not self._backend.running():
                raise ServerFailed(f"{self} ended while it started:\n{self._backend.log()}")
            if time.monotonic() > end:
                raise ServerFailed(f"{self} does not answer after {START_LIMIT:g} s:\n{self._backend.log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Asks it to end, as an administrator would, and waits; raises `ServerFailed` if it had to be killed."""
        self._backend.stop()

    def kill(self) -> None:
        """SIGKILL, and waits for the end; the port stays reserved and the data stays."""
        self._backend.kill()

    def wipe(self) -> None:
        """Empties its data; raises `ServerFailed` while it runs."""
        self._backend.wipe()

    @abstractmethod
    def answers(self) -> bool:
        """Whether it does real work now: a leader is there, a login succeeds. Takes 1 s at most."""

    def __repr__(self) -> str:
        return f"<{self.name} {self.address}, {self.source}>"
