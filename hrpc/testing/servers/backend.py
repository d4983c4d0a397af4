"""What a server needs from the thing that runs it: a program of this machine, or a container."""

from __future__ import annotations

from typing import Protocol


class Backend(Protocol):
    """Runs one server; its data outlives a stop and a kill."""

    @property
    def source(self) -> str:
        """Where the server comes from, for reports: ``container redis:7`` or ``program /usr/bin/redis-server …``."""

    def start(self) -> None:
        """Starts the server, and does not wait for its first answer.

        Raises `ServerFailed` when it runs already.
        """

    def stop(self) -> None:
        """Asks the server to end and waits for it; raises `ServerFailed` when it has to be killed for that."""

    def kill(self) -> None:
        """SIGKILL, and waits for the end. Nothing happens to a server that does not run."""

    def wipe(self) -> None:
        """Empties the data; raises `ServerFailed` while the server runs."""

    def running(self) -> bool:
        """Whether it runs, which does not yet mean that it answers."""

    def log(self) -> str:
        """The last lines that the server has written."""
