"""Reaching a service that runs on this machine, over its control socket (`hrpc.server.control`).

The commands that use it are run every few seconds by whoever watches a service, so it imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from hrpc import run_folder


class ReachError(Exception):
    """The service cannot be reached, or does not answer; the message is for the user of a command."""


class SeveralError(ReachError):
    """More than one service is meant."""


class Found(NamedTuple):
    """A service that listens."""

    name: str
    pid: int
    connection: socket.socket


class Reached:
    """A connection to one service; it takes one request."""

    def __init__(self, found: Found) -> None:
        """For `reach`."""
        self.name, self.pid, self._connection = found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, command: str, *, timeout: float, **arguments: Any) -> dict[str, Any]:
        """The first answer, within `timeout` seconds. Raises `ReachError`."""
        for answer in self.answers(command, timeout=timeout, **arguments):
            return answer
        raise ReachError(f"{self.name} (pid {self.pid}) ended without an answer")

    def answers(self, command: str, *, timeout: float | None, **arguments: Any) -> Iterator[dict[str, Any]]:
        """All answers, until the service ends them, `timeout` seconds for all together. Raises `ReachError`."""
        until = None if timeout is None else time.monotonic() + timeout
        rest = b""
        try:
            self._connection.settimeout(timeout)
            self._connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            while True:
                if until is not None:
                    self._connection.settimeout(max(until - time.monotonic(), 0.001))
                received = self._connection.recv(65536)
                if not received:
                    return
                *lines, rest = (rest + received).split(b"\n")
                yield from map(json.loads, lines)
        except TimeoutError:
            raise ReachError(f"{self.name} (pid {self.pid}) gave no answer within {timeout:g} s") from None
        except OSError as error:
            raise ReachError(f"{self.name} (pid {self.pid}) does not answer: {error.strerror or error}") from error


def reach(name: str | None = None, pid: int | None = None) -> Reached:
    """The service with this name and this process id, which may be left out when one alone runs.

    Raises `ReachError` when there is none, and `SeveralError`.
    """
    found, problems = _search(name, pid)
    if len(found) == 1:
        return Reached(found[0])
    for each in found:
        each.connection.close()
    if found:
        several = ", ".join(f"{each.name} (pid {each.pid})" for each in found)
        raise SeveralError(f"{len(found)} services run here, {several}: choose one with --name or --pid")
    wanted = "service" if name is None else f"service {name!r}"
    wanted += "" if pid is None else f" with the process id {pid}"
    told = "; ".join(problems) or "it has ended, or runs as another user or with another HRPC_RUN_DIR"
    raise ReachError(f"no {wanted} runs here: {told}")


def folders() -> list[str]:
    """Where services of this machine may be reached, best first. Raises `ReachError` when that is nowhere."""
    try:
        found = run_folder.candidates()
    except OSError as error:
        raise ReachError(f"no service can be found: {error.strerror or error}") from None
    if not found:
        raise ReachError("no service can be found: HRPC_RUN_DIR=none says that none is to be reached so")
    return found


def _search(name: str | None, pid: int | None) -> tuple[list[Found], list[str]]:
    found: list[Found] = []
    problems: list[str] = []
    for path in folders():
        if not os.path.lexists(path):
            continue
        try:
            with run_folder.opened(path) as folder:
                for entry in folder.sockets():
                    if name in (None, entry.name) and pid in (None, entry.pid):
                        found += _connected(folder, entry, problems)
        except OSError as error:
            problems.append(error.strerror or str(error))
    return found, problems


def _connected(folder: run_folder.RunFolder, entry: run_folder.Socket, problems: list[str]) -> list[Found]:
    try:
        return [Found(entry.name, entry.pid, folder.connect(entry.file, timeout=1.0))]
    except (ConnectionRefusedError, FileNotFoundError):
        pass  # what a killed process has left
    except OSError as error:
        problems.append(f"{entry.name} (pid {entry.pid}) does not take the connection: {error.strerror or error}")
    return []
